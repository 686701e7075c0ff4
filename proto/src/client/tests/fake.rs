//! A node that does what its script says, over real connections. Each runs in a runtime of its own, so
//! that killing it ends its connections as a crash does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::absence::not_here;
use crate::ledger;
use crate::ledger::ledger_server::{Ledger, LedgerServer};
use crate::ledger::submit_response::Result as Told;

/// What the node does with the next command.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Tell(Told),
    /// Breaks the stream.
    Drop,
    /// Never answers.
    Silence,
}

/// What the node does with the next read, or with the next call that opens a stream.
#[derive(Debug, Clone)]
pub(super) enum ReadAct {
    Fail(tonic::Code),
    /// Says that it does not have the group.
    NotHere,
    /// Tells so many items, then fails.
    Part(usize),
}

#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) acts: VecDeque<Act>,
    pub(super) reads: VecDeque<ReadAct>,
    pub(super) topology: ledger::TopologyResponse,
    pub(super) seen: Vec<ledger::SubmitRequest>,
    pub(super) streams: usize,
    pub(super) read_calls: usize,
    /// Of feeds and lists, how many items there are.
    pub(super) items: u64,
}

#[derive(Debug, Clone)]
struct Node {
    script: Arc<Mutex<Script>>,
    /// How many commands have come.
    count: watch::Sender<usize>,
}

/// A running node, or the place of one.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) count: watch::Receiver<usize>,
    node: Node,
    tls: Option<ServerTlsConfig>,
    runtime: Option<Runtime>,
}

impl Fake {
    pub(super) fn start() -> Self {
        Self::start_with(None)
    }

    pub(super) fn start_with(tls: Option<ServerTlsConfig>) -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let (sender, count) = watch::channel(0);
        let node = Node { script: Arc::clone(&script), count: sender };
        // An address of its own, so that nobody takes its port while it is dead.
        static COUNT: AtomicU16 = AtomicU16::new(1);
        let [high, low] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let address = SocketAddr::from(([127, 1, high, low], 0));
        let mut fake = Self { address, script, count, node, tls, runtime: None };
        fake.come_back();
        fake
    }

    /// Listens again where it did before.
    pub(super) fn come_back(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (node, address, tls) = (self.node.clone(), self.address, self.tls.clone());
        let (bound, told) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            let service = LedgerServer::new(node);
            let incoming = TcpListenerStream::new(listener);
            let mut server = Server::builder();
            if let Some(tls) = tls {
                server = server.tls_config(tls).unwrap();
            }
            server.add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        self.address = told.recv().unwrap();
        self.runtime = Some(runtime);
    }

    /// Ends every connection and stops listening, and returns when that is so.
    pub(super) fn die(&mut self) {
        let runtime = self.runtime.take().unwrap();
        // A runtime must not wait for another's end on its own threads.
        std::thread::spawn(|| runtime.shutdown_timeout(Duration::from_secs(20))).join().unwrap();
    }

    pub(super) fn play(&self, acts: impl IntoIterator<Item = Act>) {
        self.script.lock().unwrap().acts.extend(acts);
    }

    pub(super) fn seen(&self) -> Vec<ledger::SubmitRequest> {
        self.script.lock().unwrap().seen.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Node {
    fn read_act(&self) -> Option<ReadAct> {
        let mut script = self.script.lock().unwrap();
        script.read_calls += 1;
        script.reads.pop_front()
    }

    /// Tells items from `from` on, as the script has it.
    fn items<T: Send + 'static>(
        &self,
        from: u64,
        item: impl Fn(u64) -> T,
    ) -> Result<Response<Answers<T>>, Status> {
        let all: Vec<_> = (from..self.script.lock().unwrap().items).map(|n| Ok(item(n))).collect();
        let told: Vec<_> = match self.read_act() {
            None => all,
            Some(ReadAct::Fail(code)) => return Err(Status::new(code, "as the script says")),
            Some(ReadAct::NotHere) => return Err(not_here(super::GROUP)),
            Some(ReadAct::Part(count)) => {
                let end = Err(Status::unavailable("as the script says"));
                all.into_iter().take(count).chain([end]).collect()
            }
        };
        Ok(Response::new(Box::pin(tokio_stream::iter(told))))
    }
}

#[tonic::async_trait]
impl Ledger for Node {
    type SubmitStream = Answers<ledger::SubmitResponse>;
    type ReadRecordsStream = Answers<ledger::JournalRecord>;
    type ListDocumentsStream = Answers<ledger::Document>;
    type ListOutletsStream = Answers<ledger::OutletRow>;
    type FeedStream = Answers<ledger::FeedItem>;
    type WatchDocumentsStream = Answers<ledger::DocumentEvent>;
    type AReportStream = Answers<ledger::ReportPart>;

    async fn topology(
        &self,
        _: Request<ledger::TopologyRequest>,
    ) -> Result<Response<ledger::TopologyResponse>, Status> {
        Ok(Response::new(self.script.lock().unwrap().topology.clone()))
    }

    async fn submit(
        &self,
        requests: Request<Streaming<ledger::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        self.script.lock().unwrap().streams += 1;
        let (answers, stream) = mpsc::channel(16);
        let node = self.clone();
        let mut requests = requests.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let number = request.request;
                let act = {
                    let mut script = node.script.lock().unwrap();
                    script.seen.push(request);
                    script.acts.pop_front()
                };
                node.count.send_modify(|count| *count += 1);
                let result = match act {
                    None => Some(Told::Done(ledger::Done {})),
                    Some(Act::Tell(told)) => Some(told),
                    Some(Act::Silence) => continue,
                    Some(Act::Drop) => {
                        let end = Err(Status::unavailable("as the script says"));
                        answers.send(end).await.unwrap();
                        return;
                    }
                };
                answers.send(Ok(ledger::SubmitResponse { request: number, result })).await.unwrap();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn read_outlet(
        &self,
        request: Request<ledger::ReadOutletRequest>,
    ) -> Result<Response<ledger::ReadOutletResponse>, Status> {
        match self.read_act() {
            Some(ReadAct::Fail(code)) => Err(Status::new(code, "as the script says")),
            Some(ReadAct::NotHere) => Err(not_here(super::GROUP)),
            _ => Ok(Response::new(ledger::ReadOutletResponse {
                as_of: None,
                row: request.into_inner().outlet_id.into(),
            })),
        }
    }

    async fn read_record(
        &self,
        _: Request<ledger::ReadRecordRequest>,
    ) -> Result<Response<ledger::ReadRecordResponse>, Status> {
        Ok(Response::new(ledger::ReadRecordResponse::default()))
    }

    async fn read_records(
        &self,
        request: Request<ledger::ReadRecordsRequest>,
    ) -> Result<Response<Self::ReadRecordsStream>, Status> {
        let item = |leaf| ledger::JournalRecord { leaf, ..ledger::JournalRecord::default() };
        self.items(request.into_inner().from_position, item)
    }

    async fn read_submission(
        &self,
        _: Request<ledger::ReadSubmissionRequest>,
    ) -> Result<Response<ledger::ReadRecordResponse>, Status> {
        Ok(Response::new(ledger::ReadRecordResponse::default()))
    }

    async fn read_document(
        &self,
        _: Request<ledger::ReadDocumentRequest>,
    ) -> Result<Response<ledger::ReadDocumentResponse>, Status> {
        Ok(Response::new(ledger::ReadDocumentResponse::default()))
    }

    async fn list_documents(
        &self,
        request: Request<ledger::ListDocumentsRequest>,
    ) -> Result<Response<Self::ListDocumentsStream>, Status> {
        let after = request.into_inner().after;
        let from = after.parse::<u64>().map_or(0, |after| after + 1);
        let item = |n: u64| ledger::Document { id: n.to_string(), ..ledger::Document::default() };
        self.items(from, item)
    }

    async fn list_outlets(
        &self,
        request: Request<ledger::ListOutletsRequest>,
    ) -> Result<Response<Self::ListOutletsStream>, Status> {
        let after = request.into_inner().after;
        let from = after.parse::<u64>().map_or(0, |after| after + 1);
        let item =
            |n: u64| ledger::OutletRow { outlet_id: n.to_string(), ..ledger::OutletRow::default() };
        self.items(from, item)
    }

    async fn read_group(
        &self,
        request: Request<ledger::ReadGroupRequest>,
    ) -> Result<Response<ledger::ReadGroupResponse>, Status> {
        let signed_leaves = request.into_inner().group;
        Ok(Response::new(ledger::ReadGroupResponse {
            signed_leaves,
            ..ledger::ReadGroupResponse::default()
        }))
    }

    async fn feed(
        &self,
        request: Request<ledger::FeedRequest>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        let item = |leaf| ledger::FeedItem { leaf, ..ledger::FeedItem::default() };
        self.items(request.into_inner().from_leaf, item)
    }

    async fn watch_documents(
        &self,
        _: Request<ledger::WatchDocumentsRequest>,
    ) -> Result<Response<Self::WatchDocumentsStream>, Status> {
        use ledger::document_event::Event;
        let event = |n: u64| match n {
            0 => Event::Reset(ledger::DocumentsReset {}),
            n => Event::Document(ledger::Document { id: n.to_string(), ..Default::default() }),
        };
        self.items(0, |n| ledger::DocumentEvent { as_of: None, event: Some(event(n)) })
    }

    async fn rehearse(
        &self,
        _: Request<ledger::RehearseRequest>,
    ) -> Result<Response<ledger::RehearseResponse>, Status> {
        Ok(Response::new(ledger::RehearseResponse::default()))
    }

    async fn read_invoice(
        &self,
        _: Request<ledger::ReadInvoiceRequest>,
    ) -> Result<Response<ledger::ReadInvoiceResponse>, Status> {
        Ok(Response::new(ledger::ReadInvoiceResponse::default()))
    }

    async fn list_uploads(
        &self,
        _: Request<ledger::ListUploadsRequest>,
    ) -> Result<Response<ledger::ListUploadsResponse>, Status> {
        Ok(Response::new(ledger::ListUploadsResponse::default()))
    }

    async fn list_incidents(
        &self,
        _: Request<ledger::ListIncidentsRequest>,
    ) -> Result<Response<ledger::ListIncidentsResponse>, Status> {
        Ok(Response::new(ledger::ListIncidentsResponse::default()))
    }

    async fn read_block(
        &self,
        _: Request<ledger::ReadBlockRequest>,
    ) -> Result<Response<ledger::ReadBlockResponse>, Status> {
        Ok(Response::new(ledger::ReadBlockResponse::default()))
    }

    async fn find_records(
        &self,
        _: Request<ledger::FindRecordsRequest>,
    ) -> Result<Response<ledger::FindRecordsResponse>, Status> {
        Ok(Response::new(ledger::FindRecordsResponse::default()))
    }

    async fn find_numbers(
        &self,
        _: Request<ledger::FindNumbersRequest>,
    ) -> Result<Response<ledger::FindNumbersResponse>, Status> {
        Ok(Response::new(ledger::FindNumbersResponse::default()))
    }

    async fn x_report(
        &self,
        _: Request<ledger::XReportRequest>,
    ) -> Result<Response<ledger::SignedReport>, Status> {
        Ok(Response::new(ledger::SignedReport::default()))
    }

    async fn a_report(
        &self,
        _: Request<ledger::AReportRequest>,
    ) -> Result<Response<Self::AReportStream>, Status> {
        use ledger::report_part::Part;
        self.items(0, |n| ledger::ReportPart { part: Some(Part::Line(n.to_string())) })
    }

    async fn prove_inclusion(
        &self,
        _: Request<ledger::ProveInclusionRequest>,
    ) -> Result<Response<ledger::ProveInclusionResponse>, Status> {
        Ok(Response::new(ledger::ProveInclusionResponse::default()))
    }

    async fn prove_consistency(
        &self,
        _: Request<ledger::ProveConsistencyRequest>,
    ) -> Result<Response<ledger::ProveConsistencyResponse>, Status> {
        Ok(Response::new(ledger::ProveConsistencyResponse::default()))
    }

    async fn read_checkpoint(
        &self,
        _: Request<ledger::ReadCheckpointRequest>,
    ) -> Result<Response<ledger::ReadCheckpointResponse>, Status> {
        Ok(Response::new(ledger::ReadCheckpointResponse::default()))
    }

    async fn read_tile(
        &self,
        _: Request<ledger::ReadTileRequest>,
    ) -> Result<Response<ledger::ReadTileResponse>, Status> {
        Ok(Response::new(ledger::ReadTileResponse::default()))
    }

    async fn prove_heads(
        &self,
        _: Request<ledger::ProveHeadsRequest>,
    ) -> Result<Response<ledger::ProveHeadsResponse>, Status> {
        Ok(Response::new(ledger::ProveHeadsResponse::default()))
    }

    async fn list_checkpoints(
        &self,
        _: Request<ledger::ListCheckpointsRequest>,
    ) -> Result<Response<ledger::ListCheckpointsResponse>, Status> {
        Ok(Response::new(ledger::ListCheckpointsResponse::default()))
    }
}
