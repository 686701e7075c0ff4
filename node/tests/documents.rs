//! Documents of the directory as a gateway follows and lists them.

mod cluster;

use std::collections::BTreeMap;
use std::pin::pin;

use cluster::{Cluster, LIMIT};
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{Command, PutDocument, PutDocuments, command};
use fiscus_proto::ledger::document_event::Event;
use fiscus_proto::ledger::ledger_client::LedgerClient;
use fiscus_proto::ledger::{
    AsOf, Consistency, DocumentEvent, ListDocumentsRequest, WatchDocumentsRequest,
};
use futures_util::{Stream, StreamExt};
use tonic::transport::Channel;

fn put(kind: &str, id: &str, expected_version: u64, text: &str) -> PutDocument {
    PutDocument {
        kind: kind.to_owned(),
        id: id.to_owned(),
        expected_version,
        bytes: text.as_bytes().to_vec().into(),
    }
}

async fn put_all(client: &ClusterClient, puts: Vec<PutDocument>) -> Answer {
    let command = Command { command: Some(command::Command::PutDocuments(PutDocuments { puts })) };
    client.submit(0, command, LIMIT).await.expect("an answer")
}

/// What a gateway keeps of a watch.
#[derive(Default)]
struct Kept {
    documents: BTreeMap<(String, String), (u64, String)>,
    resets: usize,
    as_of: AsOf,
    fresh: Option<bool>,
}

impl Kept {
    fn take(&mut self, told: DocumentEvent) {
        let as_of = told.as_of.expect("every event is as of a moment");
        match told.event.expect("an event") {
            Event::Reset(_) => {
                self.documents.clear();
                self.resets += 1;
            }
            Event::Document(document) => {
                let text = String::from_utf8(document.bytes.to_vec()).expect("text");
                let known = (document.version, text);
                self.documents.insert((document.kind, document.id), known);
            }
            Event::Current(current) => {
                assert!(as_of.applied >= self.as_of.applied, "it never goes back");
                self.as_of = as_of;
                self.fresh = Some(current.fresh);
            }
        }
    }

    fn version(&self, kind: &str, id: &str) -> u64 {
        self.documents.get(&(kind.to_owned(), id.to_owned())).map_or(0, |(version, _)| *version)
    }
}

/// Listens until something is so.
async fn until<E: std::fmt::Debug>(
    kept: &mut Kept,
    events: &mut (impl Stream<Item = Result<DocumentEvent, E>> + Unpin),
    wanted: impl Fn(&Kept) -> bool,
) {
    let listening = async {
        while !wanted(kept) {
            kept.take(events.next().await.expect("it goes on").expect("an event"));
        }
    };
    tokio::time::timeout(LIMIT, listening).await.expect("it comes to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_everything_and_each_change_whichever_node_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let first = vec![put("merchant", "m1", 0, "one"), put("user", "u1", 0, "not asked for")];
    assert_eq!(put_all(&client, first).await, Answer::Done);
    let kinds = vec!["merchant".to_owned(), "action".to_owned()];
    let mut events = pin!(client.watch_documents(kinds));
    let mut kept = Kept::default();
    until(&mut kept, &mut events, |kept| kept.fresh == Some(true)).await;
    assert_eq!(kept.resets, 1);
    assert_eq!(kept.version("merchant", "m1"), 1);

    // A change and the line that tells of it are there together, or not at all.
    let second = vec![put("merchant", "m1", 1, "two"), put("action", "o/1", 0, "changed m1")];
    assert_eq!(put_all(&client, second.clone()).await, Answer::Done);
    until(&mut kept, &mut events, |kept| kept.version("merchant", "m1") == 2).await;
    until(&mut kept, &mut events, |kept| kept.version("action", "o/1") == 1).await;
    let again = put_all(&client, vec![put("action", "o/2", 0, "x"), second[0].clone()]).await;
    assert!(matches!(&again, Answer::Refused(refused) if refused.code == "VERSION_CONFLICT"));

    for id in 1..=3 {
        cluster.kill_node(id).await;
        let version = kept.version("merchant", "m1");
        let text = format!("without {id}");
        let third = vec![put("merchant", "m1", version, &text)];
        assert_eq!(put_all(&client, third).await, Answer::Done);
        until(&mut kept, &mut events, |kept| kept.version("merchant", "m1") == version + 1).await;
        until(&mut kept, &mut events, |kept| kept.fresh == Some(true)).await;
        cluster.start_node(id).await;
        cluster.wait_equal(0).await;
    }
    assert!(kept.resets > 1, "another node went on, from the beginning");
    assert_eq!(kept.documents.len(), 2, "{:?}", kept.documents);
}

/// A node that hears of no majority goes on telling how far it is; it does not say that this is all.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_called_fresh() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    assert_eq!(put_all(&client, vec![put("merchant", "m1", 0, "one")]).await, Answer::Done);
    let alone = cluster.leader(0).await;
    let rpc = cluster.members.iter().find(|member| member.id == alone).expect("it is there").rpc;
    let channel = Channel::from_shared(format!("http://{rpc}")).expect("an address");
    let mut node = LedgerClient::new(channel.connect().await.expect("it listens"));
    let nothing = node.watch_documents(WatchDocumentsRequest::default()).await;
    assert_eq!(nothing.expect_err("no kind").code(), tonic::Code::InvalidArgument);
    let request = WatchDocumentsRequest { kinds: vec!["merchant".to_owned()] };
    let mut events = node.watch_documents(request).await.expect("it opens").into_inner();
    let mut kept = Kept::default();
    until(&mut kept, &mut events, |kept| kept.fresh == Some(true)).await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != alone).collect();
    for id in &others {
        cluster.kill_node(*id).await;
    }
    until(&mut kept, &mut events, |kept| kept.fresh == Some(false)).await;
    for id in others {
        cluster.start_node(id).await;
    }
    until(&mut kept, &mut events, |kept| kept.fresh == Some(true)).await;
    assert_eq!((kept.resets, kept.version("merchant", "m1")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_a_beginning_an_end_and_a_direction() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let mut ids = Vec::new();
    for chunk in 0..10_u32 {
        let puts = (0..16_u32).map(|at| {
            let number = chunk * 16 + at;
            let org = if number % 3 == 0 { "org-1" } else { "org-22" };
            let id = format!("{org}/{number}");
            ids.push(id.clone());
            put("action", &id, 0, &id)
        });
        let puts = puts.collect();
        assert_eq!(put_all(&client, puts).await, Answer::Done);
    }
    // Their order is that of their lengths, then of their bytes.
    ids.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    for (prefix, after, limit, descending) in [
        ("", "", 0, false),
        ("", "", 0, true),
        ("org-1/", "", 0, false),
        ("org-1/", "", 7, true),
        ("org-2", "", 70, true),
        ("org-22/1", "org-22/10", 5, false),
        ("org-22/1", "org-22/10", 5, true),
        ("org-3", "", 0, false),
        ("org-1/159", "", 1, true),
    ] {
        let request = ListDocumentsRequest {
            kind: "action".to_owned(),
            after: after.to_owned(),
            consistency: Consistency::Linearizable.into(),
            prefix: prefix.to_owned(),
            limit,
            descending,
        };
        let found: Vec<String> = client
            .list_documents(request, LIMIT)
            .map(|document| document.expect("a document").id)
            .collect()
            .await;
        let mut wanted: Vec<&String> = ids.iter().filter(|id| id.starts_with(prefix)).collect();
        if descending {
            wanted.reverse();
        }
        if let Some(at) = wanted.iter().position(|id| *id == after) {
            wanted.drain(..=at);
        }
        if limit > 0 {
            wanted.truncate(usize::try_from(limit).expect("it is small"));
        }
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            wanted,
            "{prefix} {after} {limit} {descending}"
        );
    }
}
