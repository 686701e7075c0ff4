//! A point of sale whose cable is cut: it sells by the protocol's own rules, and knows in the end what became of
//! each sale.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fiscus_device_proxy::protocol::frame::framed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::host::{Host, code, field, sequence};
use super::line::{Pair, open};
use super::shop::Invoice;

/// Where in a sale a cut falls.
pub(crate) const MOMENTS: [&str; 5] =
    ["before PREPARE", "during PREPARE", "between", "during COMMIT", "after COMMIT"];
const BEFORE: usize = 0;
const PREPARE: usize = 1;
const BETWEEN: usize = 2;
const COMMIT: usize = 3;
const AFTER: usize = 4;

/// An exchange takes about so long, so that a cut falls before, during or after it.
const CUT_WITHIN_US: u64 = 15_000;
/// Longer than any answer takes.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// A sale that is not clear after so long is a failure of the whole.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(10);
/// A person has to do something meanwhile.
const ROOM_PAUSE: Duration = Duration::from_millis(200);
/// A register that is told nothing clear so often prepares the same invoice again.
const DOUBTS_MAX: u32 = 10;

/// The same course for the same seed, as far as the machines keep time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
}

/// How often what was cut, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<(&'static str, &'static str), u64>>>);

impl Tally {
    pub(crate) fn add(&self, what: &'static str, moment: usize) {
        *self.0.lock().unwrap().entry((what, MOMENTS[moment])).or_default() += 1;
    }

    pub(crate) fn of(&self, wanted: &str) -> u64 {
        let known = self.0.lock().unwrap();
        known.iter().filter(|((what, _), _)| *what == wanted).map(|(_, count)| count).sum()
    }

    pub(crate) fn rows(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.0.lock().unwrap().clone()
    }
}

/// How a point of sale reaches its device.
pub(crate) enum Way {
    Tcp(SocketAddr),
    /// Over a pair of pseudo-terminals: the proxy's end and the host's.
    Pty(PathBuf, PathBuf),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A host, and the pair of pseudo-terminals that it holds an end of.
type Connected = (Host<Box<dyn Stream>>, Option<Pair>);

/// What became of a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has this number.
    Sealed(u64),
    /// It was never committed.
    OnlyPrepared,
    /// It was committed once, and the register was thrown away before it knew more.
    Unknown,
}

/// What goes wrong in one sale.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    /// The cable is cut at this moment.
    pub(crate) cut: Option<usize>,
    /// And nobody asks again.
    pub(crate) leaves: bool,
}

pub(crate) struct Lane {
    way: Way,
    host: Option<Connected>,
    pub(crate) dice: Dice,
    /// The moment that its sale is in.
    pub(crate) moment: Arc<AtomicUsize>,
    /// How often it was told that there is no room.
    pub(crate) no_room: Arc<AtomicU64>,
    tally: Tally,
    /// What it was answered last.
    last: String,
    /// Rises when its proxy was killed, which a serial line does not tell.
    killed: watch::Receiver<u64>,
}

impl Lane {
    pub(crate) fn new(way: Way, seed: u64, tally: Tally, killed: watch::Receiver<u64>) -> Self {
        let moment = Arc::new(AtomicUsize::new(BEFORE));
        Self {
            way,
            host: None,
            dice: Dice::new(seed),
            moment,
            no_room: Arc::default(),
            tally,
            last: String::new(),
            killed,
        }
    }

    fn at(&self, moment: usize) {
        self.moment.store(moment, Ordering::Relaxed);
    }

    async fn connect(&mut self) {
        if self.host.is_some() {
            return;
        }
        let (host, pair) = match &self.way {
            Way::Tcp(address) => {
                let stream = loop {
                    match TcpStream::connect(address).await {
                        Ok(stream) => break stream,
                        Err(_) => tokio::time::sleep(PAUSE).await,
                    }
                };
                // Closed with unread answers, it is reset: a cable that was cut, not a host that has hung up.
                stream.set_zero_linger().unwrap();
                (Host::new(Box::new(stream) as Box<dyn Stream>), None)
            }
            Way::Pty(device, line) => {
                let pair = Pair::new(device, line);
                let host = open(line).await;
                (Host::new(Box::new(host.into_stream()) as Box<dyn Stream>), Some(pair))
            }
        };
        self.killed.borrow_and_update();
        self.host = Some((host, pair));
    }

    /// The cable is cut at this moment.
    fn cut(&mut self, moment: usize) {
        let what = if matches!(self.way, Way::Tcp(_)) { "a connection" } else { "a line" };
        self.host = None;
        self.tally.add(what, moment);
    }

    /// Asks; nothing when the line went meanwhile.
    async fn ask(&mut self, body: &str) -> Option<String> {
        self.connect().await;
        let serial = matches!(self.way, Way::Pty(..));
        let (host, _) = self.host.as_mut()?;
        let asking = async {
            host.try_send(&framed(body, serial)).await.ok()?;
            let answer = host.try_answer().await.ok()?;
            if serial { whole(&answer) } else { Some(answer) }
        };
        // A line loses bytes while it is opened, and does not tell that nobody is there any more.
        let answer = tokio::select! {
            answer = asking => answer,
            _ = self.killed.changed(), if serial => None,
            () = tokio::time::sleep(SILENCE_MAX), if serial => None,
        };
        // What was disturbed on a line is sent again, over a fresh one.
        let disturbed = |answer: &String| {
            !answer.starts_with("{\"status\":") || code(answer) == "CHECKSUM_INVALID"
        };
        let answer = answer.filter(|answer| !disturbed(answer));
        match &answer {
            Some(answer) => self.last.clone_from(answer),
            None => self.host = None,
        }
        answer
    }

    /// Sends, and cuts the cable a moment later.
    async fn ask_and_cut(&mut self, body: &str, moment: usize) {
        self.connect().await;
        let serial = matches!(self.way, Way::Pty(..));
        if let Some((host, _)) = self.host.as_mut() {
            // The proxy may be gone at this very moment.
            let _ = host.try_send(&framed(body, serial)).await;
        }
        let pause = Duration::from_micros(self.dice.below(CUT_WITHIN_US));
        tokio::time::sleep(pause).await;
        self.cut(moment);
    }

    /// Sells, whatever comes between.
    pub(crate) async fn sell(&mut self, invoice: &Invoice, plan: Plan) -> Fate {
        let selling = tokio::time::timeout(PATIENCE, self.sell_for_ever(invoice, plan)).await;
        selling.unwrap_or_else(|_| panic!("{} is not sold: {}", invoice.mark, self.last))
    }

    async fn sell_for_ever(&mut self, invoice: &Invoice, mut plan: Plan) -> Fate {
        self.at(BEFORE);
        loop {
            let nonce = match self.prepare(invoice, &mut plan).await {
                Ok(nonce) => nonce,
                Err(Fate::Sealed(number)) => return self.read(number, invoice).await,
                Err(fate) => return fate,
            };
            if let Some(fate) = self.commit(&nonce, invoice, &mut plan).await {
                return fate;
            }
        }
    }

    /// Prepares; the nonce, or what is known of the sale without one.
    async fn prepare(&mut self, invoice: &Invoice, plan: &mut Plan) -> Result<String, Fate> {
        let body = format!("TXN|PREPARE {}", invoice.text);
        loop {
            if plan.cut.take_if(|at| *at == BEFORE).is_some() {
                self.connect().await;
                self.cut(BEFORE);
            }
            self.at(PREPARE);
            if plan.cut.take_if(|at| *at == PREPARE).is_some() {
                self.ask_and_cut(&body, PREPARE).await;
                continue;
            }
            let Some(answer) = self.ask(&body).await else { continue };
            match code(&answer).as_str() {
                "OK" => {
                    self.at(BETWEEN);
                    let nonce = field(&answer, "nonce").expect("a nonce");
                    if plan.cut.take_if(|at| *at == BETWEEN).is_some() {
                        self.cut(BETWEEN);
                        if plan.leaves {
                            return Err(Fate::OnlyPrepared);
                        }
                    }
                    return Ok(nonce);
                }
                "REPLAY_DETECTED" => return Err(Fate::Sealed(number_in(&answer))),
                "UNAVAILABLE" | "DEVICE_BUSY" => tokio::time::sleep(PAUSE).await,
                "STORAGE_FULL" => self.waits_for_room().await,
                _ => panic!("{}: {answer}", invoice.mark),
            }
        }
    }

    /// Nothing was sealed, and nothing will be before somebody has made room.
    async fn waits_for_room(&mut self) {
        self.no_room.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(ROOM_PAUSE).await;
    }

    /// Commits until it is clear; nothing when the invoice is to be prepared again.
    async fn commit(&mut self, nonce: &str, invoice: &Invoice, plan: &mut Plan) -> Option<Fate> {
        let body = format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}");
        let mut doubts = 0;
        loop {
            self.at(COMMIT);
            if plan.cut.take_if(|at| *at == COMMIT).is_some() {
                self.ask_and_cut(&body, COMMIT).await;
                if plan.leaves {
                    return Some(Fate::Unknown);
                }
                continue;
            }
            let Some(answer) = self.ask(&body).await else { continue };
            match code(&answer).as_str() {
                "OK" => {
                    self.at(AFTER);
                    if plan.cut.take_if(|at| *at == AFTER).is_some() {
                        self.cut(AFTER);
                    }
                    self.asks_again(&body, &answer).await;
                    return Some(Fate::Sealed(sequence(&answer)));
                }
                "UNAVAILABLE" | "DEVICE_BUSY" if doubts < DOUBTS_MAX => {
                    doubts += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                "REPLAY_DETECTED" => return Some(self.read(number_in(&answer), invoice).await),
                "UNAVAILABLE" | "DEVICE_BUSY" | "INVALID_NONCE" | "NONCE_EXPIRED" => return None,
                "STORAGE_FULL" => {
                    self.waits_for_room().await;
                    return None;
                }
                _ => panic!("{}: {answer}", invoice.mark),
            }
        }
    }

    /// The same nonce, the same seal, on whatever connection.
    async fn asks_again(&mut self, body: &str, known: &str) {
        loop {
            let Some(answer) = self.ask(body).await else { continue };
            match code(&answer).as_str() {
                "OK" => return assert_eq!(answer, known, "the same nonce, another seal"),
                "UNAVAILABLE" | "DEVICE_BUSY" => tokio::time::sleep(PAUSE).await,
                _ => panic!("what was sealed is not told again: {answer}"),
            }
        }
    }

    /// Reads in the log that this invoice has this number.
    pub(crate) async fn read(&mut self, number: u64, invoice: &Invoice) -> Fate {
        let body = format!("QRY|LOG {number}");
        loop {
            let Some(answer) = self.ask(&body).await else { continue };
            match code(&answer).as_str() {
                "OK" => {
                    let told = format!("\"payload_hash\":\"{}\"", invoice.hash);
                    assert!(answer.contains(&told), "{number} is not {}: {answer}", invoice.mark);
                    return Fate::Sealed(number);
                }
                "UNAVAILABLE" | "DEVICE_BUSY" => tokio::time::sleep(PAUSE).await,
                _ => panic!("{number}: {answer}"),
            }
        }
    }
}

/// An answer without its checksum, if that is the one of the answer.
fn whole(answer: &str) -> Option<String> {
    let (body, _) = answer.rsplit_once('*')?;
    let again = framed(body, true);
    (again[1..again.len() - 1] == *answer.as_bytes()).then(|| body.to_owned())
}

/// The number in "sealed already, as KIN-LIMETE-12;", or in "as number 12".
fn number_in(answer: &str) -> u64 {
    let detail = field(answer, "detail").expect("a detail");
    let (_, rest) = detail.split_once(", as ").unwrap_or_else(|| panic!("{detail}"));
    let token = rest.split(';').next().unwrap_or(rest).trim();
    let digits = token.rsplit(['-', ' ']).next().and_then(|digits| digits.parse().ok());
    digits.unwrap_or_else(|| panic!("{detail}"))
}
