//! What gateways and device proxies ask.

use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fiscus_ledger::state::Id;
use fiscus_ledger::state::rows::{Operation, SubmissionKey};
use fiscus_proto::absence::not_here;
use fiscus_proto::ledger::ledger_server::Ledger;
use fiscus_proto::ledger::{self as wire, Consistency};
use fiscus_proto::peer::ReadIndexRequest;
use fiscus_proto::tls::Role;
use fiscus_raft::consensus::{Lane, ReadIndexError};
use fiscus_raft::store::{AsOf, FoundRecord, Progress, Reading};
use futures_util::{Stream, StreamExt};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::checkpoints;
use crate::context::NodeContext;
use crate::groups::{Groups, Hosted};
use crate::records::{self, SignedRecord};
use crate::services::uploads::Uploads;
use crate::services::{documents, group_view, outlets, require, still_open};

pub(super) const READERS: [Role; 5] = Role::ALL;
const WRITERS: [Role; 3] = [Role::Gateway, Role::Proxy, Role::Admin];
/// Who tells others of what is wrong here.
const TELLERS: [Role; 2] = [Role::Gateway, Role::Admin];
/// A device proxy stands in a shop: it sells, and of the directory it may only activate a device.
const DIRECTORY_WRITERS: [Role; 2] = [Role::Gateway, Role::Admin];
/// A read waits for its index at most so long.
pub(super) const READ_WAIT: Duration = Duration::from_secs(3);
/// Between two questions for a leader that is waited for.
const LEADER_RETRY: Duration = Duration::from_millis(100);
/// Searches, reports and proofs at once: each has a thread of its own.
const SEARCHES_MAX: usize = 8;
/// Answers of a submit stream that wait for the network.
const ANSWERS_MAX: usize = 1_024;
/// Records of a stream read at once, and their bytes, though one is read whatever its length.
const PAGE: usize = 256;
const PAGE_BYTES: usize = 4 << 20;

/// Serves gateways and device proxies.
#[derive(Debug, Clone)]
pub(crate) struct LedgerService {
    pub(crate) context: Arc<NodeContext>,
    pub(crate) groups: Arc<Groups>,
    /// Those that may take long, at once.
    pub(super) searches: Arc<Semaphore>,
}

pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(crate) fn as_of(moment: AsOf) -> wire::AsOf {
    wire::AsOf {
        group: moment.group,
        applied: moment.applied,
        time_ms: moment.time_ms,
        leaves: moment.leaves,
    }
}

pub(super) fn failed(error: &dyn std::error::Error) -> Status {
    Status::data_loss(error.to_string())
}

impl LedgerService {
    pub(crate) fn new(context: Arc<NodeContext>, groups: Arc<Groups>) -> Self {
        Self { context, groups, searches: Arc::new(Semaphore::new(SEARCHES_MAX)) }
    }

    pub(super) fn group(&self, group: u64) -> Result<Arc<Hosted>, Status> {
        self.groups.get(group).ok_or_else(|| not_here(group))
    }

    /// What the group holds at a moment that is as fresh as asked.
    pub(super) async fn reading(
        &self,
        hosted: &Hosted,
        consistency: i32,
    ) -> Result<Reading, Status> {
        if consistency != i32::from(Consistency::Local) {
            self.catch_up(hosted).await?;
        }
        hosted.handle.replica().read().map_err(|error| failed(&error))
    }

    /// Waits until everything is applied here that was answered anywhere before this call.
    pub(super) async fn catch_up(&self, hosted: &Hosted) -> Result<(), Status> {
        let started = Instant::now();
        let index = match hosted.handle.read_index().await {
            Ok(index) => index,
            Err(ReadIndexError::NotLeader { leader }) => self.ask_leader(hosted, leader).await?,
            Err(error) => return Err(Status::unavailable(error.to_string())),
        };
        let waited = hosted.handle.wait_applied(index, READ_WAIT).await;
        self.context.metrics.read_index.observe(started.elapsed());
        waited.map_err(Status::unavailable)
    }

    /// The same for a caller that nobody sends to another node: a group without a leader is waited for, as
    /// one is that was just founded.
    pub(super) async fn catch_up_within(
        &self,
        hosted: &Hosted,
        limit: Duration,
    ) -> Result<(), Status> {
        let until = Instant::now() + limit;
        loop {
            let caught_up = self.catch_up(hosted).await;
            let stopped = hosted.handle.status().stopped.is_some();
            if caught_up.is_ok() || stopped || Instant::now() >= until {
                return caught_up;
            }
            tokio::time::sleep(LEADER_RETRY).await;
        }
    }

    async fn ask_leader(&self, hosted: &Hosted, leader: Option<u64>) -> Result<u64, Status> {
        let status = hosted.handle.status();
        let known = leader.or(status.leader).and_then(|id| Some((id, status.members.get(&id)?)));
        let (id, member) =
            known.ok_or_else(|| Status::unavailable("the group has no leader now"))?;
        let unavailable = |what: String| Status::unavailable(what);
        let mut client = self
            .context
            .pool
            .client(id, &member.incarnation, &member.rpc, Lane::Control)
            .map_err(|error| unavailable(error.to_string()))?;
        let request = ReadIndexRequest { group: hosted.handle.group() };
        let asked = tokio::time::timeout(READ_WAIT, client.read_index(request)).await;
        let answer = asked
            .map_err(|_| unavailable(format!("the leader, node {id}, does not answer")))?
            .map_err(|status| unavailable(status.message().to_owned()))?
            .into_inner();
        if answer.not_leader {
            return Err(unavailable("the leader is changing".to_owned()));
        }
        Ok(answer.index)
    }

    pub(super) fn signed(
        &self,
        hosted: &Hosted,
        found: FoundRecord,
    ) -> Result<wire::JournalRecord, Status> {
        let signature = match found.signature {
            Some(signature) => signature,
            None => records::sign_record(&self.context, found.leaf, &found.record)
                .map_err(|error| failed(&error))?,
        };
        let record = SignedRecord { leaf: found.leaf, record: found.record, signature };
        Ok(journal_record(hosted.handle.group(), record))
    }

    fn record_at(
        &self,
        hosted: &Hosted,
        reading: &Reading,
        leaf: Option<u64>,
    ) -> Result<wire::ReadRecordResponse, Status> {
        let found = leaf.map(|leaf| reading.record(leaf)).transpose().map_err(|e| failed(&e))?;
        let mut record = found.flatten().map(|found| self.signed(hosted, found)).transpose()?;
        if let Some(record) = &mut record {
            let found = Uploads::new(reading).of(&record.record);
            record.upload = found.map_err(|error| failed(&error))?;
        }
        Ok(wire::ReadRecordResponse { as_of: Some(as_of(reading.as_of())), record })
    }
}

pub(crate) fn journal_record(group: u64, record: SignedRecord) -> wire::JournalRecord {
    wire::JournalRecord {
        group,
        leaf: record.leaf,
        record: record.record.into(),
        signature: record.signature.to_vec().into(),
        upload: None,
    }
}

#[tonic::async_trait]
impl Ledger for LedgerService {
    async fn topology(
        &self,
        request: Request<wire::TopologyRequest>,
    ) -> Result<Response<wire::TopologyResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        let groups = self.groups.all().into_iter().map(|hosted| {
            let group = hosted.handle.group();
            let status = hosted.handle.status();
            let voters: Vec<u64> = status.voters.iter().copied().collect();
            let learners = status.members.keys().filter(|id| !status.voters.contains(id));
            wire::Group {
                id: group,
                leader: status.leader.unwrap_or(0),
                learners: learners.copied().collect(),
                voters,
                term: status.term,
                applied: status.applied,
                preferred_region: crate::steward::preferred_region(&self.groups, group)
                    .unwrap_or_default(),
            }
        });
        let groups = groups.collect();
        let nodes = self.groups.members().into_iter().map(|(id, member)| wire::Node {
            id,
            rpc: member.rpc,
            region: member.region,
            admin: member.admin,
        });
        Ok(Response::new(wire::TopologyResponse {
            cluster: self.context.config.cluster.clone(),
            node: self.context.identity.node,
            nodes: nodes.collect(),
            groups,
            disk_free_bytes: self.context.disk().0,
        }))
    }

    type SubmitStream = Answers<wire::SubmitResponse>;

    async fn submit(
        &self,
        request: Request<Streaming<wire::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        require(&self.context, &request, &WRITERS)?;
        let directory = require(&self.context, &request, &DIRECTORY_WRITERS).is_ok();
        let mut requests = request.into_inner();
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        let service = self.clone();
        let room = Arc::new(Semaphore::new(self.context.config.limits.calls_max));
        tokio::spawn(async move {
            let mut working = tokio::task::JoinSet::new();
            while let Ok(Some(request)) = requests.message().await {
                // Over the bound the stream is read no further: the caller feels it at once.
                let Ok(permit) = room.clone().acquire_owned().await else { break };
                let (service, answers) = (service.clone(), answers.clone());
                working.spawn(async move {
                    let answer = service.submit_one(request, directory).await;
                    // The caller may have hung up; the outcome stands.
                    let _ = answers.send(Ok(answer)).await;
                    drop(permit);
                });
                while working.try_join_next().is_some() {}
            }
            while working.join_next().await.is_some() {}
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn read_outlet(
        &self,
        request: Request<wire::ReadOutletRequest>,
    ) -> Result<Response<wire::ReadOutletResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        let request = request.into_inner();
        let hosted = self.group(request.group)?;
        let reading = self.reading(&hosted, request.consistency).await?;
        let row = reading.outlet_row(&request.outlet_id).map_err(|error| failed(&error))?;
        Ok(Response::new(wire::ReadOutletResponse {
            as_of: Some(as_of(reading.as_of())),
            row: row.unwrap_or_default().into(),
        }))
    }

    async fn read_record(
        &self,
        request: Request<wire::ReadRecordRequest>,
    ) -> Result<Response<wire::ReadRecordResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        let request = request.into_inner();
        let hosted = self.group(request.group)?;
        let reading = self.reading(&hosted, request.consistency).await?;
        let leaf = match request.which {
            Some(wire::read_record_request::Which::Leaf(leaf)) => Some(leaf),
            Some(wire::read_record_request::Which::Position(at)) => reading
                .leaf_of_position(&at.outlet_id, at.position)
                .map_err(|error| failed(&error))?,
            Some(wire::read_record_request::Which::Number(number)) => reading
                .position_of_number(&number.outlet_id, &number.fiscal_number)
                .and_then(|position| match position {
                    Some(position) => reading.leaf_of_position(&number.outlet_id, position),
                    None => Ok(None),
                })
                .map_err(|error| failed(&error))?,
            None => return Err(Status::invalid_argument("the request names no record")),
        };
        self.record_at(&hosted, &reading, leaf).map(Response::new)
    }

    type ReadRecordsStream = Answers<wire::JournalRecord>;

    async fn read_records(
        &self,
        request: Request<wire::ReadRecordsRequest>,
    ) -> Result<Response<Self::ReadRecordsStream>, Status> {
        require(&self.context, &request, &READERS)?;
        let request = request.into_inner();
        let hosted = self.group(request.group)?;
        if request.consistency != i32::from(Consistency::Local) {
            self.catch_up(&hosted).await?;
        }
        let to = if request.to_position == 0 { u64::MAX } else { request.to_position };
        let service = self.clone();
        let outlet_id = request.outlet_id;
        let hosted = Arc::downgrade(&hosted);
        let pages = futures_util::stream::unfold(Some(request.from_position), move |from| {
            let (service, hosted) = (service.clone(), hosted.clone());
            let outlet_id = outlet_id.clone();
            async move {
                let from = from?;
                let page = still_open(&hosted)
                    .and_then(|hosted| service.page(&hosted, &outlet_id, from, to));
                match page {
                    Err(status) => Some((vec![Err(status)], None)),
                    Ok(page) if page.is_empty() => None,
                    Ok(page) => {
                        let next = from.saturating_add(page.len() as u64);
                        Some((page.into_iter().map(Ok).collect(), Some(next)))
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(pages.flat_map(futures_util::stream::iter))))
    }

    async fn read_submission(
        &self,
        request: Request<wire::ReadSubmissionRequest>,
    ) -> Result<Response<wire::ReadRecordResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        let request = request.into_inner();
        let hosted = self.group(request.group)?;
        let operation = u8::try_from(request.operation).ok().and_then(Operation::from_code);
        let key = SubmissionKey {
            outlet_id: Id::from(request.outlet_id.as_str()),
            operation: operation.ok_or_else(|| Status::invalid_argument("no such operation"))?,
            key: (&*request.key)
                .try_into()
                .map_err(|_| Status::invalid_argument("a key has 16 bytes"))?,
        };
        let reading = self.reading(&hosted, request.consistency).await?;
        let leaf = reading
            .submission(&key)
            .and_then(|known| match known {
                Some(known) => reading.leaf_of_position(&request.outlet_id, known.position),
                None => Ok(None),
            })
            .map_err(|error| failed(&error))?;
        self.record_at(&hosted, &reading, leaf).map(Response::new)
    }

    async fn read_document(
        &self,
        request: Request<wire::ReadDocumentRequest>,
    ) -> Result<Response<wire::ReadDocumentResponse>, Status> {
        documents::require_kinds(&self.context, &request, [&*request.get_ref().kind])?;
        self.find_document(request.into_inner()).await.map(Response::new)
    }

    type ListDocumentsStream = Answers<wire::Document>;

    async fn list_documents(
        &self,
        request: Request<wire::ListDocumentsRequest>,
    ) -> Result<Response<Self::ListDocumentsStream>, Status> {
        documents::require_kinds(&self.context, &request, [&*request.get_ref().kind])?;
        let listed = self.documents_of(request.into_inner()).await?;
        Ok(Response::new(Box::pin(listed)))
    }

    type WatchDocumentsStream = Answers<wire::DocumentEvent>;

    async fn watch_documents(
        &self,
        request: Request<wire::WatchDocumentsRequest>,
    ) -> Result<Response<Self::WatchDocumentsStream>, Status> {
        let kinds = request.get_ref().kinds.iter().map(String::as_str);
        documents::require_kinds(&self.context, &request, kinds)?;
        let events = self.watch(request.into_inner().kinds)?;
        Ok(Response::new(Box::pin(events)))
    }

    type ListOutletsStream = Answers<wire::OutletRow>;

    async fn list_outlets(
        &self,
        request: Request<wire::ListOutletsRequest>,
    ) -> Result<Response<Self::ListOutletsStream>, Status> {
        require(&self.context, &request, &READERS)?;
        let request = request.into_inner();
        let hosted = self.group(request.group)?;
        if request.consistency != i32::from(Consistency::Local) {
            self.catch_up(&hosted).await?;
        }
        let after = (!request.after.is_empty()).then_some(request.after);
        Ok(Response::new(Box::pin(outlets::rows(Arc::downgrade(&hosted), after))))
    }

    async fn read_group(
        &self,
        request: Request<wire::ReadGroupRequest>,
    ) -> Result<Response<wire::ReadGroupResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        let request = request.into_inner();
        let hosted = self.group(request.group)?;
        let reading = self.reading(&hosted, request.consistency).await?;
        let group = reading.group().map_err(|error| failed(&error))?;
        let moment = reading.as_of();
        let decided = group.decided.as_ref();
        let signed = decided
            .map(|tuple| checkpoints::signed(&self.context, moment.group, tuple.size, &tuple.root));
        let checkpoint = signed.transpose().unwrap_or_else(|error| {
            tracing::warn!(group = moment.group, %error, "no checkpoint is signed here");
            None
        });
        Ok(Response::new(group_view::group_response(moment, &group, checkpoint)))
    }

    type FeedStream = Answers<wire::FeedItem>;

    async fn feed(
        &self,
        request: Request<wire::FeedRequest>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        require(&self.context, &request, &READERS)?;
        let request = request.into_inner();
        let hosted = self.group(request.group)?;
        let (sender, receiver) = mpsc::channel(PAGE);
        let service = self.clone();
        let (progress, weak) = (hosted.handle.replica().progress(), Arc::downgrade(&hosted));
        drop(hosted);
        tokio::spawn(async move {
            let from = request.from_leaf;
            if let Err(status) = service.feed_into(&weak, progress, from, &sender).await {
                // The caller may have hung up.
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn read_invoice(
        &self,
        request: Request<wire::ReadInvoiceRequest>,
    ) -> Result<Response<wire::ReadInvoiceResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.invoice_of(request.into_inner()).await.map(Response::new)
    }

    async fn list_uploads(
        &self,
        request: Request<wire::ListUploadsRequest>,
    ) -> Result<Response<wire::ListUploadsResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.uploads_of(request.into_inner()).await.map(Response::new)
    }

    async fn list_incidents(
        &self,
        request: Request<wire::ListIncidentsRequest>,
    ) -> Result<Response<wire::ListIncidentsResponse>, Status> {
        require(&self.context, &request, &TELLERS)?;
        let (next_number, incidents) = self.context.incidents.from(request.get_ref().from_number);
        let node = self.context.identity.node;
        Ok(Response::new(wire::ListIncidentsResponse { node, next_number, incidents }))
    }

    async fn read_block(
        &self,
        request: Request<wire::ReadBlockRequest>,
    ) -> Result<Response<wire::ReadBlockResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.block_of(request.into_inner()).await.map(Response::new)
    }

    async fn find_records(
        &self,
        request: Request<wire::FindRecordsRequest>,
    ) -> Result<Response<wire::FindRecordsResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.records_of(request.into_inner()).await.map(Response::new)
    }

    async fn find_numbers(
        &self,
        request: Request<wire::FindNumbersRequest>,
    ) -> Result<Response<wire::FindNumbersResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.numbers_of(request.into_inner()).await.map(Response::new)
    }

    async fn x_report(
        &self,
        request: Request<wire::XReportRequest>,
    ) -> Result<Response<wire::SignedReport>, Status> {
        require(&self.context, &request, &READERS)?;
        self.x_of(request.into_inner()).await.map(Response::new)
    }

    type AReportStream = Answers<wire::ReportPart>;

    async fn a_report(
        &self,
        request: Request<wire::AReportRequest>,
    ) -> Result<Response<Self::AReportStream>, Status> {
        require(&self.context, &request, &READERS)?;
        let parts = self.a_of(request.into_inner()).await?;
        Ok(Response::new(Box::pin(parts)))
    }

    async fn rehearse(
        &self,
        request: Request<wire::RehearseRequest>,
    ) -> Result<Response<wire::RehearseResponse>, Status> {
        require(&self.context, &request, &WRITERS)?;
        self.rehearsed(request.into_inner()).await.map(Response::new)
    }

    async fn prove_inclusion(
        &self,
        request: Request<wire::ProveInclusionRequest>,
    ) -> Result<Response<wire::ProveInclusionResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.inclusion(request.into_inner()).await.map(Response::new)
    }

    async fn prove_consistency(
        &self,
        request: Request<wire::ProveConsistencyRequest>,
    ) -> Result<Response<wire::ProveConsistencyResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.consistency(request.into_inner()).await.map(Response::new)
    }

    async fn read_checkpoint(
        &self,
        request: Request<wire::ReadCheckpointRequest>,
    ) -> Result<Response<wire::ReadCheckpointResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.checkpoint(request.into_inner()).await.map(Response::new)
    }

    async fn read_tile(
        &self,
        request: Request<wire::ReadTileRequest>,
    ) -> Result<Response<wire::ReadTileResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.tile(request.into_inner()).await.map(Response::new)
    }

    async fn prove_heads(
        &self,
        request: Request<wire::ProveHeadsRequest>,
    ) -> Result<Response<wire::ProveHeadsResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.heads(request.into_inner()).await.map(Response::new)
    }

    async fn list_checkpoints(
        &self,
        request: Request<wire::ListCheckpointsRequest>,
    ) -> Result<Response<wire::ListCheckpointsResponse>, Status> {
        require(&self.context, &request, &READERS)?;
        self.checkpoints_of(request.into_inner()).await.map(Response::new)
    }
}

impl LedgerService {
    /// Records from a position on, in order; empty at the end.
    fn page(
        &self,
        hosted: &Hosted,
        outlet_id: &str,
        from: u64,
        to: u64,
    ) -> Result<Vec<wire::JournalRecord>, Status> {
        let reading = hosted.handle.replica().read().map_err(|error| failed(&error))?;
        let leaves = reading
            .leaves_of_positions(outlet_id, from, to, PAGE)
            .map_err(|error| failed(&error))?;
        let (mut page, mut bytes) = (Vec::with_capacity(leaves.len()), 0);
        let mut uploads = Uploads::new(&reading);
        for leaf in leaves {
            let found = reading.record(leaf).map_err(|error| failed(&error))?;
            let found =
                found.ok_or_else(|| Status::data_loss(format!("leaf {leaf} is missing")))?;
            bytes += found.record.len();
            let upload = uploads.of(&found.record).map_err(|error| failed(&error))?;
            let signed = self.signed(hosted, found)?;
            page.push(wire::JournalRecord { upload, ..signed });
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(page)
    }

    /// The leaves of a range, at most a page of them.
    fn feed_page(
        &self,
        hosted: &Hosted,
        leaves: Range<u64>,
    ) -> Result<Vec<wire::FeedItem>, Status> {
        let reading = hosted.handle.replica().read().map_err(|error| failed(&error))?;
        let moment = as_of(reading.as_of());
        let (mut page, mut bytes) = (Vec::new(), 0);
        for leaf in leaves.take(PAGE) {
            let found = reading.record(leaf).map_err(|error| failed(&error))?;
            bytes += found.as_ref().map_or(0, |found| found.record.len());
            let record = found.map(|found| self.signed(hosted, found)).transpose()?;
            page.push(wire::FeedItem { as_of: Some(moment), leaf, record });
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(page)
    }

    /// Sends every leaf from `next` on whose signature the log has, and goes on as they come. Nothing of the
    /// group is held while a slow caller is waited for.
    async fn feed_into(
        &self,
        hosted: &Weak<Hosted>,
        mut progress: watch::Receiver<Progress>,
        mut next: u64,
        sender: &mpsc::Sender<Result<wire::FeedItem, Status>>,
    ) -> Result<(), Status> {
        loop {
            let signed = progress.borrow_and_update().signed_leaves;
            while next < signed {
                let page = self.feed_page(&*still_open(hosted)?, next..signed)?;
                next += page.len() as u64;
                for item in page {
                    if sender.send(Ok(item)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            // A feed of a group that has stopped is let go, so that the group can be opened anew.
            let more = progress.wait_for(|now| now.signed_leaves > next || now.stopped.is_some());
            tokio::select! {
                more = more => {
                    if more.is_err() || more.is_ok_and(|now| now.stopped.is_some()) {
                        return Err(Status::unavailable("the group has stopped on this node"));
                    }
                }
                () = sender.closed() => return Ok(()),
            }
        }
    }
}
