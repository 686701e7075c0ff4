mod fake;
mod tls;
mod topology;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use super::*;
use crate::command::command::Command as Kind;
use crate::command::{self, Command, Refusal};
use crate::ledger::submit_response::Result as Told;
use crate::ledger::{self, Consistency, JournalRecord};
use crate::tls::TlsMaterial;
use fake::{Act, Fake, ReadAct};

const GROUP: u64 = 1;
const LONG: Duration = Duration::from_secs(20);

/// Nodes 1, 2, … of one cluster; `leader` is what all of them say.
fn cluster(size: u64, leader: u64) -> Vec<Fake> {
    let nodes: Vec<Fake> = (0..size).map(|_| Fake::start()).collect();
    for (id, fake) in (1..).zip(&nodes) {
        fake.script.lock().unwrap().topology = topology(&nodes, id, leader);
    }
    nodes
}

fn topology(nodes: &[Fake], node: u64, leader: u64) -> TopologyResponse {
    let listed = (1..).zip(nodes).map(|(id, fake)| ledger::Node {
        id,
        rpc: fake.address.to_string(),
        ..ledger::Node::default()
    });
    let voters: Vec<u64> = (1..).zip(nodes).map(|(id, _)| id).collect();
    let group = |id| ledger::Group {
        id,
        leader,
        voters: voters.clone(),
        term: 1,
        ..ledger::Group::default()
    };
    TopologyResponse {
        cluster: "test".into(),
        node,
        nodes: listed.collect(),
        groups: vec![group(0), group(GROUP)],
        disk_free_bytes: 0,
    }
}

async fn client_with(nodes: &[Fake], attempt_timeout: Duration) -> ClusterClient {
    let seeds = nodes.iter().map(|fake| fake.address.to_string()).collect();
    let limits = ClientLimits {
        attempt_timeout,
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        ..ClientLimits::default()
    };
    let config = ClientConfig { limits, jitter_seed: Some(1), ..ClientConfig::new(seeds, None) };
    ClusterClient::connect(config).await.unwrap()
}

async fn client(nodes: &[Fake]) -> ClusterClient {
    client_with(nodes, Duration::from_secs(10)).await
}

fn seal() -> Command {
    let submitted = command::Submitted {
        outlet_id: "O1".into(),
        key: Bytes::from_static(&[7; 16]),
        fingerprint: Bytes::from_static(&[8; 32]),
    };
    let seal = command::Seal { submitted: Some(submitted), ..command::Seal::default() };
    Command { command: Some(Kind::Seal(seal)) }
}

fn put_document() -> Command {
    Command { command: Some(Kind::PutDocument(command::PutDocument::default())) }
}

fn cut() -> Command {
    Command { command: Some(Kind::CheckpointCut(command::CheckpointCut { demand_heads: true })) }
}

fn record() -> JournalRecord {
    JournalRecord {
        group: GROUP,
        leaf: 3,
        record: Bytes::from_static(b"r"),
        signature: Bytes::new(),
        upload: None,
    }
}

fn refusal() -> Refusal {
    Refusal { code: "VERSION_CONFLICT".into(), ..Refusal::default() }
}

fn recorded() -> Act {
    Act::Tell(Told::Recorded(record()))
}

fn already() -> Act {
    Act::Tell(Told::AlreadyRecorded(record()))
}

fn not_leader(leader: u64) -> Act {
    Act::Tell(Told::NotLeader(ledger::NotLeader { leader }))
}

fn busy(retry_after_ms: u32) -> Act {
    let detail = "full".into();
    Act::Tell(Told::Busy(ledger::Busy { retry_after_ms, code: "QUEUE_FULL".into(), detail }))
}

fn unknown() -> Act {
    Act::Tell(Told::Unknown(ledger::Unknown { detail: "lost".into() }))
}

fn malformed() -> Act {
    Act::Tell(Told::Malformed(ledger::Malformed { detail: "bad".into() }))
}

fn refused() -> Act {
    Act::Tell(Told::Refused(refusal()))
}

/// What a script has to lead to.
#[derive(Debug)]
enum Expected {
    Answer(Answer),
    Code(&'static str),
}

use Expected::{Answer as Is, Code};

struct Case {
    name: &'static str,
    command: Command,
    /// What nodes 1 (the leader, as all say), 2 and 3 do.
    acts: [Vec<Act>; 3],
    expected: Expected,
    /// How many copies have come, to all of them.
    copies: usize,
}

fn case<const N: usize>(
    name: &'static str,
    command: Command,
    acts: [&[Act]; N],
    expected: Expected,
    copies: usize,
) -> Case {
    let acts = std::array::from_fn(|node| acts.get(node).map_or(Vec::new(), |acts| acts.to_vec()));
    Case { name, command, acts, expected, copies }
}

fn answers() -> Vec<Case> {
    let tell = |told| Act::Tell(told);
    vec![
        case("recorded", seal(), [&[recorded()]], Is(Answer::Recorded(record())), 1),
        case("before", seal(), [&[already()]], Is(Answer::AlreadyRecorded(record())), 1),
        case(
            "waiting",
            seal(),
            [&[tell(Told::Waiting(ledger::Waiting {}))]],
            Is(Answer::Waiting),
            1,
        ),
        case("done", seal(), [&[tell(Told::Done(ledger::Done {}))]], Is(Answer::Done), 1),
        case(
            "unchanged",
            seal(),
            [&[tell(Told::Unchanged(ledger::Unchanged {}))]],
            Is(Answer::Unchanged),
            1,
        ),
        case("refused", seal(), [&[refused()]], Is(Answer::Refused(refusal())), 1),
        case("malformed", seal(), [&[malformed()]], Code("COMMAND_MALFORMED"), 1),
    ]
}

fn retries() -> Vec<Case> {
    vec![
        case(
            "a hint is followed",
            seal(),
            [&[not_leader(3)], &[], &[recorded()]],
            Is(Answer::Recorded(record())),
            2,
        ),
        case(
            "a command that may happen twice follows hints, too",
            cut(),
            [&[not_leader(2)], &[refused()]],
            Is(Answer::Refused(refusal())),
            2,
        ),
        case(
            "busy passes",
            seal(),
            [&[busy(1), busy(1), recorded()]],
            Is(Answer::Recorded(record())),
            3,
        ),
        case("busy for long", seal(), [&[busy(3_600_000)]], Code("CLUSTER_BUSY"), 1),
        case(
            "doubt is lifted by an answer",
            seal(),
            [&[unknown()], &[already()]],
            Is(Answer::AlreadyRecorded(record())),
            2,
        ),
        case(
            "doubt is not lifted by a node that takes nothing",
            seal(),
            [&[unknown()], &[busy(3_600_000)]],
            Code("OUTCOME_UNKNOWN"),
            2,
        ),
        case(
            "nor by one that cannot read",
            seal(),
            [&[unknown()], &[malformed()]],
            Code("OUTCOME_UNKNOWN"),
            2,
        ),
        case(
            "a keyed command is refused for its own sake",
            seal(),
            [&[unknown()], &[refused()]],
            Is(Answer::Refused(refusal())),
            2,
        ),
        case(
            "a document's conflict may be its own doing",
            put_document(),
            [&[unknown()], &[refused()]],
            Code("OUTCOME_UNKNOWN"),
            2,
        ),
        case(
            "a document's conflict",
            put_document(),
            [&[refused()]],
            Is(Answer::Refused(refusal())),
            1,
        ),
        case("a cut is not sent twice", cut(), [&[unknown()]], Code("OUTCOME_UNKNOWN"), 1),
        case("nor when its stream broke", cut(), [&[Act::Drop]], Code("OUTCOME_UNKNOWN"), 1),
    ]
}

#[tokio::test]
async fn each_script_leads_to_its_result() {
    for case in answers().into_iter().chain(retries()) {
        let nodes = cluster(3, 1);
        let client = client(&nodes).await;
        // After node 1 failed, the topology tells of node 2.
        for (id, fake) in (1..).zip(&nodes) {
            fake.script.lock().unwrap().topology = topology(&nodes, id, 2);
        }
        for (fake, acts) in nodes.iter().zip(case.acts) {
            fake.play(acts);
        }
        let result = client.submit(GROUP, case.command.clone(), LONG).await;
        match (&result, &case.expected) {
            (Ok(answer), Is(expected)) => assert_eq!(answer, expected, "{}", case.name),
            (Err(error), Code(expected)) => assert_eq!(error.code(), *expected, "{}", case.name),
            other => panic!("{}: {other:?}", case.name),
        }
        let seen: Vec<_> = nodes.iter().flat_map(Fake::seen).collect();
        assert_eq!(seen.len(), case.copies, "{}", case.name);
        for request in seen {
            assert_eq!(request.command.as_ref(), Some(&case.command), "{}", case.name);
            assert_eq!(request.group, GROUP);
        }
    }
}

#[tokio::test]
async fn a_broken_stream_is_opened_again_and_the_same_key_is_sent() {
    let nodes = cluster(1, 1);
    let client = client(&nodes).await;
    nodes[0].play([Act::Drop, already()]);
    let answer = client.submit(GROUP, seal(), LONG).await;
    assert_eq!(answer, Ok(Answer::AlreadyRecorded(record())));
    let seen = nodes[0].seen();
    assert_eq!(seen[0].command, seen[1].command);
    assert_eq!(nodes[0].script.lock().unwrap().streams, 2);
}

#[tokio::test]
async fn a_node_that_never_answers_leaves_the_outcome_unknown() {
    let nodes = cluster(1, 1);
    let client = client(&nodes).await;
    nodes[0].play([Act::Silence]);
    let result = client.submit(GROUP, seal(), Duration::from_millis(300)).await;
    assert_eq!(result.unwrap_err().code(), "OUTCOME_UNKNOWN");
    // The stream lives on.
    assert_eq!(client.submit(GROUP, seal(), LONG).await, Ok(Answer::Done));
    assert_eq!(nodes[0].script.lock().unwrap().streams, 1);
}

#[tokio::test]
async fn a_silent_node_is_left_for_another() {
    let nodes = cluster(2, 1);
    let client = client_with(&nodes, Duration::from_millis(200)).await;
    for (id, fake) in (1..).zip(&nodes) {
        fake.script.lock().unwrap().topology = topology(&nodes, id, 2);
    }
    nodes[0].play([Act::Silence]);
    nodes[1].play([already()]);
    let answer = client.submit(GROUP, seal(), LONG).await;
    assert_eq!(answer, Ok(Answer::AlreadyRecorded(record())));
}

#[tokio::test]
async fn nodes_that_are_gone_surely_took_nothing() {
    let mut nodes = cluster(2, 1);
    let client = client(&nodes).await;
    nodes.iter_mut().for_each(Fake::die);
    let result = client.submit(GROUP, seal(), Duration::from_millis(300)).await;
    assert_eq!(result.unwrap_err().code(), "CLUSTER_UNAVAILABLE");
}

#[tokio::test]
async fn a_node_that_dies_with_a_command_leaves_doubt_and_answers_when_it_is_back() {
    let mut nodes = cluster(1, 1);
    let client = client(&nodes).await;
    nodes[0].play([Act::Silence]);
    let submission = tokio::spawn({
        let client = client.clone();
        async move { client.submit(GROUP, seal(), LONG).await }
    });
    nodes[0].count.clone().wait_for(|count| *count == 1).await.unwrap();
    nodes[0].die();
    let short = client.submit(GROUP, cut(), Duration::from_millis(300)).await;
    // The cut may have been handed to the dying stream; either way it is not called recorded.
    assert!(matches!(short.unwrap_err().code(), "OUTCOME_UNKNOWN" | "CLUSTER_UNAVAILABLE"));
    nodes[0].play([already(), already()]);
    nodes[0].come_back();
    assert_eq!(submission.await.unwrap(), Ok(Answer::AlreadyRecorded(record())));
}

#[tokio::test]
async fn a_command_that_finds_no_place_is_surely_not_taken() {
    let nodes = cluster(1, 1);
    let limits = ClientLimits {
        attempt_timeout: Duration::from_millis(300),
        pending_max: 1,
        ..ClientLimits::default()
    };
    let seeds = vec![nodes[0].address.to_string()];
    let config = ClientConfig { limits, ..ClientConfig::new(seeds, None) };
    let client = ClusterClient::connect(config).await.unwrap();
    nodes[0].play([Act::Silence]);
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.submit(GROUP, cut(), LONG).await }
    });
    nodes[0].count.clone().wait_for(|count| *count == 1).await.unwrap();
    let second = client.submit(GROUP, seal(), Duration::from_millis(50)).await;
    assert_eq!(second.unwrap_err().code(), "CLUSTER_UNAVAILABLE");
    assert_eq!(first.await.unwrap().unwrap_err().code(), "OUTCOME_UNKNOWN");
    // Who has given up leaves a place; what was not taken never comes later.
    assert_eq!(client.submit(GROUP, put_document(), LONG).await, Ok(Answer::Done));
    let seen: Vec<_> = nodes[0].seen().into_iter().map(|request| request.command).collect();
    assert_eq!(seen, [Some(cut()), Some(put_document())]);
}

#[tokio::test]
async fn many_share_one_stream() {
    let nodes = cluster(1, 1);
    let client = client(&nodes).await;
    let submissions = (0..500).map(|_| client.submit(GROUP, seal(), LONG));
    let answers = futures_util::future::join_all(submissions).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Answer::Done)));
    let mut numbers: Vec<u64> = nodes[0].seen().iter().map(|request| request.request).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 500);
    assert_eq!(nodes[0].script.lock().unwrap().streams, 1);
}

#[tokio::test]
async fn reads_go_on_elsewhere_unless_they_are_rejected() {
    let nodes = cluster(2, 1);
    let client = client(&nodes).await;
    let request = || ledger::ReadOutletRequest { outlet_id: "O1".into(), ..Default::default() };
    nodes[0].script.lock().unwrap().reads.push_back(ReadAct::Fail(tonic::Code::Unavailable));
    let answer = client.read_outlet(request(), LONG).await.unwrap();
    assert_eq!(&*answer.row, b"O1");
    let calls = || [0, 1].map(|node: usize| nodes[node].script.lock().unwrap().read_calls);
    assert_eq!(calls(), [1, 1]);
    client.read_outlet(request(), LONG).await.unwrap();
    assert_eq!(calls(), [1, 2], "the one that answered is asked first");
    nodes[1].script.lock().unwrap().reads.push_back(ReadAct::Fail(tonic::Code::InvalidArgument));
    let error = client.read_outlet(request(), LONG).await.unwrap_err();
    assert_eq!((error.code(), calls()), ("READ_REJECTED", [1, 3]));
    let group = client.read_group(9, Consistency::Local, LONG).await.unwrap();
    assert_eq!(group.signed_leaves, 9);
}

#[tokio::test]
async fn a_node_without_the_group_does_not_answer_for_the_others() {
    let nodes = cluster(2, 1);
    let client = client(&nodes).await;
    let absent = |rounds| {
        for fake in &nodes {
            fake.script.lock().unwrap().reads = vec![ReadAct::NotHere; rounds].into();
        }
    };
    let request = |group| ledger::ReadOutletRequest { group, ..Default::default() };
    nodes[0].script.lock().unwrap().reads.push_back(ReadAct::NotHere);
    assert!(client.read_outlet(request(GROUP), LONG).await.is_ok(), "the other one has it");
    absent(5);
    assert!(client.read_outlet(request(GROUP), LONG).await.is_ok(), "it is opened again");
    absent(5);
    let error = client.read_outlet(request(9), LONG).await.unwrap_err();
    assert!(error.is_not_found(), "nobody has told of such a group: {error}");
}

#[tokio::test]
async fn reads_end_at_their_deadline() {
    let mut nodes = cluster(1, 1);
    let client = client(&nodes).await;
    nodes[0].die();
    let request = ledger::ReadDocumentRequest::default();
    let error = client.read_document(request, Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error.code(), "CLUSTER_UNAVAILABLE");
}

#[tokio::test]
async fn streams_go_on_where_they_broke() {
    let nodes = cluster(2, 1);
    let client = client(&nodes).await;
    for fake in &nodes {
        let mut script = fake.script.lock().unwrap();
        script.items = 10;
        script.reads.extend([ReadAct::Part(3), ReadAct::Fail(tonic::Code::Internal)]);
    }
    let request = ledger::ReadRecordsRequest { to_position: 7, ..Default::default() };
    let records: Vec<_> = client.read_records(request, LONG).collect().await;
    let leaves: Vec<u64> = records.into_iter().map(|record| record.unwrap().leaf).collect();
    assert_eq!(leaves, [0, 1, 2, 3, 4, 5, 6, 7]);
    for fake in &nodes {
        fake.script.lock().unwrap().reads.push_front(ReadAct::Part(4));
    }
    let documents = client.list_documents(ledger::ListDocumentsRequest::default(), LONG);
    let ids: Vec<String> = documents.map(|document| document.unwrap().id).collect().await;
    assert_eq!(ids, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[tokio::test]
async fn a_feed_goes_on_at_the_next_leaf() {
    let mut nodes = cluster(2, 1);
    let client = client(&nodes).await;
    for fake in &nodes {
        let mut script = fake.script.lock().unwrap();
        script.items = 10;
        script.reads.extend([ReadAct::Part(2), ReadAct::Fail(tonic::Code::Unavailable)]);
    }
    let mut feed = Box::pin(client.feed(GROUP, 2));
    for leaf in 2..5 {
        assert_eq!(feed.next().await.unwrap().unwrap().leaf, leaf);
    }
    nodes[0].die();
    for leaf in 5..10 {
        assert_eq!(feed.next().await.unwrap().unwrap().leaf, leaf);
    }
}

#[tokio::test]
async fn what_cannot_be_connected_is_named() {
    let codes = [
        (vec![], "CLIENT_NO_SEEDS"),
        (vec!["nowhere"], "CLIENT_ADDRESS_INVALID"),
        (vec!["host:port"], "CLIENT_ADDRESS_INVALID"),
        (vec!["127.0.0.1:1", "192.0.2.1:7000"], "CLIENT_TLS_REQUIRED"),
        (vec!["[::1]:1", "localhost:1"], "CLIENT_NO_NODE_ANSWERS"),
    ];
    for (seeds, code) in codes {
        let config = ClientConfig::new(seeds.into_iter().map(str::to_owned).collect(), None);
        assert_eq!(ClusterClient::connect(config).await.unwrap_err().code(), code);
    }
    let broken = || b"no certificate".to_vec();
    let tls = TlsMaterial { ca_pem: broken(), cert_pem: broken(), key_pem: broken() };
    let config = ClientConfig::new(vec!["192.0.2.1:7000".into()], Some(tls));
    assert_eq!(ClusterClient::connect(config).await.unwrap_err().code(), "CLIENT_TLS_INVALID");
}

#[tokio::test]
async fn a_watch_begins_again_elsewhere_until_it_is_rejected() {
    use crate::ledger::document_event::Event;
    let nodes = cluster(2, 1);
    let client = client(&nodes).await;
    for fake in &nodes {
        fake.script.lock().unwrap().items = 3;
    }
    // A node that opens the directory anew has none for a moment; the next one breaks off.
    let reads = [
        [ReadAct::NotHere, ReadAct::Part(2)],
        [ReadAct::Part(2), ReadAct::Fail(tonic::Code::PermissionDenied)],
    ];
    for (fake, reads) in nodes.iter().zip(reads) {
        fake.script.lock().unwrap().reads.extend(reads);
    }
    let events = client.watch_documents(vec!["merchant".into()]);
    let told: Vec<_> = events.collect().await;
    let told: Vec<String> = told
        .into_iter()
        .map(|event| match event.map(|event| event.event) {
            Ok(Some(Event::Reset(_))) => "reset".to_owned(),
            Ok(Some(Event::Document(document))) => document.id,
            Ok(other) => panic!("{other:?}"),
            Err(error) => error.code().to_owned(),
        })
        .collect();
    assert_eq!(told, ["reset", "1", "reset", "1", "READ_REJECTED"]);
}
