//! What is told of a command, by how its call ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fiscus_proto::admin::admin_server::{Admin, AdminServer};
use fiscus_proto::admin::{self as wire, NodeStatus, ReplicaStatus};
use fiscus_proto::ledger::{self, SubmitResponse};
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response};

use super::*;
use crate::admin::Failure;

/// How the call of a command ends.
#[derive(Debug, Clone)]
enum End {
    Status(Code),
    Silence,
    Answer(Option<Answer>),
}

/// A node that says it leads the directory.
#[derive(Debug, Clone)]
struct Leader {
    end: End,
    executed: Arc<AtomicUsize>,
}

type Steps = Pin<Box<dyn Stream<Item = Result<wire::Progress, Status>> + Send>>;

fn not_asked<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("nobody asks for it here"))
}

#[tonic::async_trait]
impl Admin for Leader {
    type ScrubStream = Steps;
    type BackupStream = Steps;

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let leads = ReplicaStatus { role: "leader".to_owned(), ..ReplicaStatus::default() };
        Ok(Response::new(StatusResponse {
            node: Some(NodeStatus { id: 1, ..NodeStatus::default() }),
            replicas: vec![leads],
            ..StatusResponse::default()
        }))
    }

    async fn execute(
        &self,
        _: Request<ExecuteRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        self.executed.fetch_add(1, Ordering::Relaxed);
        match self.end.clone() {
            End::Status(code) => Err(Status::new(code, "transport: the connection broke")),
            End::Silence => std::future::pending().await,
            End::Answer(result) => Ok(Response::new(SubmitResponse { request: 0, result })),
        }
    }

    async fn init(&self, _: Request<wire::InitRequest>) -> Result<Response<wire::Done>, Status> {
        not_asked()
    }
    async fn change_members(
        &self,
        _: Request<wire::ChangeMembersRequest>,
    ) -> Result<Response<wire::Done>, Status> {
        not_asked()
    }
    async fn transfer(
        &self,
        _: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::Done>, Status> {
        not_asked()
    }
    async fn drain(&self, _: Request<wire::DrainRequest>) -> Result<Response<wire::Done>, Status> {
        not_asked()
    }
    async fn snapshot(
        &self,
        _: Request<wire::SnapshotRequest>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        not_asked()
    }
    async fn scrub(&self, _: Request<wire::ScrubRequest>) -> Result<Response<Steps>, Status> {
        not_asked()
    }
    async fn backup(&self, _: Request<wire::BackupRequest>) -> Result<Response<Steps>, Status> {
        not_asked()
    }
    async fn keys(
        &self,
        _: Request<wire::KeysRequest>,
    ) -> Result<Response<wire::KeysResponse>, Status> {
        not_asked()
    }
    async fn prove_authority(
        &self,
        _: Request<wire::ProveAuthorityRequest>,
    ) -> Result<Response<wire::ProveAuthorityResponse>, Status> {
        not_asked()
    }
    async fn config(
        &self,
        _: Request<wire::ConfigRequest>,
    ) -> Result<Response<wire::ConfigResponse>, Status> {
        not_asked()
    }
}

/// What an operator is told, and how often the command has arrived.
async fn told(end: End, wait: Duration) -> (Result<Answer, Failure>, usize) {
    let executed = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let leader = AdminServer::new(Leader { end, executed: executed.clone() });
    let serving = Server::builder().add_service(leader);
    let serving = tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    let cluster = Cluster { seeds: vec![address], tls: None };
    let answer = cluster.execute_within(0, &Command::default(), wait).await;
    serving.abort();
    (answer.map_err(Failure::from), executed.load(Ordering::Relaxed))
}

#[tokio::test]
async fn after_sending_only_an_answer_says_that_nothing_happened() {
    let refusal = fiscus_proto::command::Refusal {
        code: "VERSION_CONFLICT".to_owned(),
        ..fiscus_proto::command::Refusal::default()
    };
    let unknown = ledger::Unknown { detail: "lost".to_owned() };
    let rows = [
        (End::Status(Code::Unavailable), 3, "OUTCOME_UNKNOWN"),
        (End::Status(Code::Cancelled), 3, "OUTCOME_UNKNOWN"),
        (End::Status(Code::Internal), 3, "OUTCOME_UNKNOWN"),
        (End::Status(Code::Unknown), 3, "OUTCOME_UNKNOWN"),
        (End::Status(Code::DeadlineExceeded), 3, "OUTCOME_UNKNOWN"),
        (End::Answer(Some(Answer::Unknown(unknown))), 3, "OUTCOME_UNKNOWN"),
        (End::Answer(None), 3, "OUTCOME_UNKNOWN"),
        (End::Answer(Some(Answer::Refused(refusal))), 1, "VERSION_CONFLICT"),
        (End::Status(Code::PermissionDenied), 2, "CLUSTER_UNREACHABLE"),
    ];
    for (end, exit, code) in rows {
        let (answer, executed) = told(end.clone(), EXECUTE_WAIT).await;
        let failure = answer.expect_err("it fails");
        assert_eq!((failure.exit, &*failure.code), (exit, code), "{end:?}: {failure:?}");
        assert_eq!(executed, 1, "{end:?}: it is never sent twice");
    }
    let done = End::Answer(Some(Answer::Done(ledger::Done {})));
    assert!(told(done, EXECUTE_WAIT).await.0.is_ok());
}

#[tokio::test]
async fn a_leader_that_says_nothing_is_not_waited_for_for_ever() {
    let (answer, executed) = told(End::Silence, Duration::from_millis(200)).await;
    let failure = answer.expect_err("there is no answer");
    assert_eq!((failure.exit, &*failure.code, executed), (3, "OUTCOME_UNKNOWN", 1), "{failure:?}");
}
