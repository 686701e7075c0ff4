//! Over its bounds a node says so at once, and goes on.

mod cluster;

use std::time::{Duration, Instant};

use cluster::{Cluster, LIMIT};
use fiscus_proto::client::Answer;
use fiscus_proto::command::{Command, PutDocument, command};
use fiscus_proto::ledger::ledger_client::LedgerClient;
use fiscus_proto::ledger::submit_response::Result as Told;
use fiscus_proto::ledger::{Consistency, ReadDocumentRequest, SubmitRequest};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Commands that wait, at most; and those that are on their way in entries.
const QUEUE_MAX: usize = 8;
const IN_FLIGHT_MAX: usize = 2 * 4;
const SENT: u64 = 40;
/// How long the commands themselves would wait.
const WAIT_MS: u32 = 60_000;
/// "At once", on a machine that does other things as well.
const AT_ONCE: Duration = Duration::from_secs(15);

fn document(id: &str, bytes: usize) -> Command {
    let put = PutDocument {
        kind: "ballast".to_owned(),
        id: id.to_owned(),
        expected_version: 0,
        bytes: vec![b'x'; bytes].into(),
    };
    Command { command: Some(command::Command::PutDocument(put)) }
}

/// Without a majority nothing leaves the queue: what does not fit is turned away while the rest waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_busy_at_once() {
    let mut cluster = Cluster::start_with(3, |config| {
        config.limits.queue_commands_max = QUEUE_MAX;
        config.limits.batch_commands_max = 4;
        config.limits.batches_in_flight_max = 2;
        // However long the others are gone, the leader goes on to know the time.
        config.clock.sample_age_max_ms = 120_000;
    })
    .await;
    cluster.sell(3).await;
    let leader = cluster.leader(0).await;
    let rpc = cluster.members.iter().find(|member| member.id == leader).expect("it is there").rpc;
    let channel = Channel::from_shared(format!("http://{rpc}")).expect("an address");
    let mut client = LedgerClient::new(channel.connect().await.expect("it listens"));
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.kill_node(id).await;
    }
    let (requests, stream) = tokio::sync::mpsc::channel(64);
    let began = Instant::now();
    for request in 1..=SENT {
        let command = Some(document(&format!("d{request}"), 10));
        let asked = SubmitRequest { request, command, timeout_ms: WAIT_MS, ..Default::default() };
        requests.send(asked).await.expect("there is room");
    }
    let mut answers =
        client.submit(ReceiverStream::new(stream)).await.expect("it opens").into_inner();
    let mut busy = 0;
    // The leader's own commands take places as well.
    while busy < SENT as usize - QUEUE_MAX - IN_FLIGHT_MAX - 1 {
        let answer = tokio::time::timeout(LIMIT, answers.message()).await.expect("an answer");
        match answer.expect("the stream lives").expect("an answer").result {
            Some(Told::Busy(told)) => {
                assert_eq!(told.code, "QUEUE_FULL");
                assert!(told.retry_after_ms > 0, "it says when to come again");
                busy += 1;
            }
            other => panic!("without a majority nothing else is answered: {other:?}"),
        }
    }
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{busy} were turned away after {took:?}");
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.start_node(id).await;
    }
    cluster.leader(1).await;
    cluster.sell(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_too_large_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    // More than an entry may hold is not even queued; more than a document may hold is refused by the rules.
    let Err(error) = client.submit(0, document("entry", 2 << 20), LIMIT).await else {
        panic!("it is larger than an entry");
    };
    assert_eq!(error.code(), "COMMAND_MALFORMED");
    assert!(error.to_string().contains("larger than an entry"), "{error}");
    let refused = client.submit(0, document("document", 300 << 10), LIMIT).await;
    assert!(matches!(&refused, Ok(Answer::Refused(_))), "{refused:?}");
    assert_eq!(client.submit(0, document("small", 10), LIMIT).await, Ok(Answer::Done));
    for (id, there) in [("entry", false), ("document", false), ("small", true)] {
        let request = ReadDocumentRequest {
            kind: "ballast".to_owned(),
            id: id.to_owned(),
            consistency: Consistency::Linearizable.into(),
        };
        let read = client.read_document(request, LIMIT).await.expect("an answer");
        assert_eq!(read.document.is_some(), there, "{id}");
    }
    cluster.sell(3).await;
}
