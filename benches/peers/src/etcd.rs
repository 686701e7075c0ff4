//! Three members of etcd on loopback, and clients of the two ways to keep a ledger in it: a put, and a counter with a
//! journal record in one transaction.
//!
//! The few messages that are needed stand here as Rust; field numbers are those of etcd's own API.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::load::Client;
use crate::machine::{free_ports, stop};

const MEMBERS: usize = 3;
const READY_WAIT: Duration = Duration::from_secs(30);
/// Each carries many requests at once; with one, its own flow control would be what is measured.
const CONNECTIONS: usize = 4;

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Done {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(int64, tag = "4")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Ranged {
    #[prost(message, repeated, tag = "2")]
    pairs: Vec<Pair>,
}

/// "The key has been written so often", as both its result (equal) and its target (version) are zero.
#[derive(Clone, PartialEq, Message)]
struct HasVersion {
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    /// In a oneof, where zero is written as well.
    #[prost(int64, optional, tag = "4")]
    version: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(message, optional, tag = "1")]
    range: Option<Range>,
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, Message)]
struct Operated {
    #[prost(message, optional, tag = "1")]
    range: Option<Ranged>,
}

#[derive(Clone, PartialEq, Message)]
struct Transaction {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<HasVersion>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<Operation>,
    #[prost(message, repeated, tag = "3")]
    failure: Vec<Operation>,
}

#[derive(Clone, PartialEq, Message)]
struct Decided {
    #[prost(bool, tag = "2")]
    succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    responses: Vec<Operated>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

async fn call<Q, A>(channel: &Channel, path: &'static str, request: Q) -> Result<A>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.context("etcd")?;
    let path = PathAndQuery::from_static(path);
    let codec = ProstCodec::<Q, A>::default();
    let answer = client.unary(tonic::Request::new(request), path, codec).await;
    Ok(answer.with_context(|| "etcd")?.into_inner())
}

/// The members, which end with it.
pub(crate) struct Etcd {
    members: Vec<Child>,
    /// To the leader.
    channels: Vec<Channel>,
}

impl Etcd {
    pub(crate) async fn start(program: &Path, dir: &Path) -> Result<Self> {
        let ports = free_ports(MEMBERS * 2)?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let all: Vec<String> =
            (0..MEMBERS).map(|member| format!("m{member}={}", url(ports[member]))).collect();
        let mut members = Vec::new();
        for member in 0..MEMBERS {
            let (peers, clients) = (url(ports[member]), url(ports[MEMBERS + member]));
            let log = std::fs::File::create(dir.join(format!("m{member}.log")))?;
            let child = Command::new(program)
                .args(["--name", &format!("m{member}"), "--data-dir"])
                .arg(dir.join(format!("m{member}")))
                .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
                .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
                .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
                .args(["--quota-backend-bytes", "8589934592", "--log-level", "error"])
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .with_context(|| program.display().to_string())?;
            members.push(child);
        }
        let mut etcd = Self { members, channels: Vec::new() };
        let leader = leader(&ports[MEMBERS..]).await?;
        for _ in 0..CONNECTIONS {
            etcd.channels.push(endpoint(leader)?.connect().await?);
        }
        Ok(etcd)
    }

    pub(crate) fn putters(&self, count: usize, value: &Bytes, run: u64) -> Vec<Putter> {
        let of = |at: usize| Putter { channel: self.channel(at), value: value.clone(), run };
        (0..count).map(of).collect()
    }

    pub(crate) fn counters(&self, count: usize, value: &Bytes, keys: u64) -> Vec<Counter> {
        let of = |at: usize| {
            let known = vec![0; usize::try_from(keys).unwrap_or(1)];
            Counter { channel: self.channel(at), value: value.clone(), known }
        };
        (0..count).map(of).collect()
    }

    fn channel(&self, at: usize) -> Channel {
        self.channels[at % self.channels.len()].clone()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(Child::id).collect()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.members.iter_mut().for_each(stop);
    }
}

fn endpoint(port: u16) -> Result<Endpoint> {
    Ok(Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true))
}

/// The port of the leader, as soon as there is one.
async fn leader(ports: &[u16]) -> Result<u16> {
    let until = Instant::now() + READY_WAIT;
    while Instant::now() < until {
        for port in ports {
            let Ok(channel) = endpoint(*port)?.connect().await else { continue };
            let asked = call(&channel, "/etcdserverpb.Maintenance/Status", Nothing {}).await;
            let Ok(Status { header: Some(header), leader }) = asked else { continue };
            if leader != 0 && header.member_id == leader {
                return Ok(*port);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    bail!("etcd has no leader within {READY_WAIT:?}")
}

/// Puts a new key.
pub(crate) struct Putter {
    channel: Channel,
    value: Bytes,
    run: u64,
}

impl Client for Putter {
    async fn act(&mut self, turn: u64) -> Result<()> {
        let key = format!("put/{}/{turn}", self.run).into();
        let put = Put { key, value: self.value.clone() };
        let _: Done = call(&self.channel, "/etcdserverpb.KV/Put", put).await?;
        Ok(())
    }
}

/// Takes the next number of one of some keys, and writes a journal record under it, in one transaction.
pub(crate) struct Counter {
    channel: Channel,
    value: Bytes,
    /// The last number of each key that this client has seen.
    known: Vec<i64>,
}

impl Client for Counter {
    async fn act(&mut self, turn: u64) -> Result<()> {
        let at = usize::try_from(turn % self.known.len() as u64)?;
        let key: Bytes = format!("counter/{at}").into();
        loop {
            let version = self.known[at];
            let number: Bytes = (version + 1).to_string().into();
            let record = format!("journal/{at}/{:016}", version + 1).into();
            let put = |key, value| Operation { range: None, put: Some(Put { key, value }) };
            let transaction = Transaction {
                compare: vec![HasVersion { key: key.clone(), version: Some(version) }],
                success: vec![put(key.clone(), number), put(record, self.value.clone())],
                failure: vec![Operation { range: Some(Range { key: key.clone() }), put: None }],
            };
            let decided: Decided = call(&self.channel, "/etcdserverpb.KV/Txn", transaction).await?;
            if decided.succeeded {
                self.known[at] = version + 1;
                return Ok(());
            }
            let ranged = decided.responses.first().and_then(|operated| operated.range.as_ref());
            let seen =
                ranged.and_then(|ranged| ranged.pairs.first()).map_or(0, |pair| pair.version);
            ensure!(seen != version, "etcd refuses the version that it tells");
            self.known[at] = seen;
        }
    }
}
