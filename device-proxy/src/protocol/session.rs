//! One host's conversation with one device.
//!
//! ```text
//! receive(bytes) ─► queue of commands ─► step() ─► Answer: write it
//!                                          │
//!                                          ├─► Call: ask the cluster ─► replied() ─► step() ─► Answer
//!                                          └─► Wait: for bytes, or until a frame has been open too long
//! ```
//!
//! Commands are done one after the other, so answers come in the order of the frames. A command that waited
//! too long behind others is answered `DEVICE_BUSY` in its time rather than done late.

use std::collections::VecDeque;
use std::time::Duration;

use fiscus_ledger::payload::array;
use fiscus_ledger::time::UnixMs;

use super::answer::{Code, Fault, ok};
use super::command::{Command, DumpFormat};
use super::frame::{FrameError, FrameParser, Framed, framed};
use super::nonce::{Known, NONCE_LIFE, Nonce, Nonces, Prepared};

/// A command that has less time left than this when its turn comes is not begun.
const BEGIN_MIN: Duration = Duration::from_millis(100);

/// What a host may make the session hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Commands that wait behind the one that is done.
    pub queue_max: usize,
    /// Nonces at once.
    pub nonces_max: usize,
    /// Bytes of the payloads behind them.
    pub prepared_bytes_max: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { queue_max: 16, nonces_max: 8, prepared_bytes_max: 4 << 20 }
    }
}

/// What is known of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The directory has not been heard of yet.
    Unheard,
    /// No operator has registered it.
    Unregistered,
    /// It waits for its activation.
    Registered,
    /// It serves.
    Active,
    /// It was revoked or replaced.
    Revoked,
}

/// What is asked of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Whether an invoice would be sealed.
    Rehearse(Prepared),
    /// Seal it, once under this key.
    Seal(Prepared, [u8; 16]),
    /// What was sealed under this key.
    FindSeal([u8; 16]),
    /// How outlet and cluster are.
    Status {
        /// Nonces that the host may still hold.
        nonce_pool: usize,
    },
    /// One sealed invoice.
    Log {
        /// Its sequence.
        sequence: u64,
    },
    /// Close the day.
    CloseDay {
        /// Which.
        date: String,
    },
    /// Totals since the last closing.
    Snapshot,
    /// Lines of invoices.
    Articles {
        /// Not before.
        since: UnixMs,
        /// Before.
        until: UnixMs,
    },
    /// Records from a position on.
    Dump {
        /// How much of each.
        format: DumpFormat,
        /// The first.
        from: u64,
        /// The last; what there is now when it is none.
        to: Option<u64>,
    },
    /// A new life of the device.
    Reset {
        /// The tax authority's leave.
        authorization: [u8; 64],
    },
    /// Compare a signed time.
    SetTime {
        /// The time.
        timestamp: UnixMs,
        /// Its signature.
        signature: [u8; 64],
    },
    /// Activate the device.
    Init {
        /// The code.
        activation_code: String,
        /// The key.
        public_key: Vec<u8>,
    },
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The invoice would be sealed.
    Fits,
    /// It would be sealed without the cluster: so it will be, whether the cluster is there by then or not.
    FitsAlone,
    /// It is sealed: the whole answer.
    Sealed(String),
    /// Nothing is sealed under the key.
    NotSealed,
    /// Nobody knows yet whether it is sealed.
    InDoubt(String),
    /// Surely nothing was done, and it may be asked again.
    NotNow(Fault),
    /// Surely nothing was done.
    Refused(Fault),
    /// It was done: the whole answer.
    Done(String),
    /// Records of the journal.
    Chunk {
        /// Each as JSON.
        records: Vec<String>,
        /// Where the next chunk begins; none after the last.
        next: Option<u64>,
        /// The last record of the dump.
        to: u64,
    },
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes; the code is what they say when the command was not done.
    Answer(Vec<u8>, Option<Code>),
    /// Ask the cluster, until this moment; then [`Session::replied`].
    Call(Call, Duration),
    /// Nothing until bytes come, or this moment.
    Wait(Option<Duration>),
}

/// An answer before it is framed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    text: String,
    code: Option<Code>,
    checked: bool,
}

impl Told {
    fn done(text: String, checked: bool) -> Self {
        Self { text, code: None, checked }
    }

    fn fault(fault: &Fault, checked: bool) -> Self {
        Self { text: fault.to_json(), code: Some(fault.code), checked }
    }

    fn into_step(self) -> Step {
        Step::Answer(framed(&self.text, self.checked), self.code)
    }
}

/// A command that waits for its turn.
#[derive(Debug)]
struct Queued {
    what: Result<Command, Fault>,
    checked: bool,
    arrived: Duration,
}

/// What a call is for.
#[derive(Debug)]
enum Purpose {
    Prepare(Prepared),
    Commit(Nonce),
    /// A nonce that is not here, and what is said when nothing was sealed under it.
    Find(Nonce, Fault),
    Dump(DumpFormat, u64),
    Other,
}

/// The call that is under way.
#[derive(Debug)]
struct Flight {
    purpose: Purpose,
    checked: bool,
}

/// A dump whose last chunk waits for its acknowledgement.
#[derive(Debug)]
struct Dump {
    format: DumpFormat,
    chunk: u64,
    next: u64,
    to: u64,
}

/// The conversation.
#[derive(Debug)]
pub struct Session {
    limits: SessionLimits,
    parser: FrameParser,
    /// Bytes that came while the queue was full.
    input: Vec<u8>,
    queue: VecDeque<Queued>,
    flight: Option<Flight>,
    ready: Option<Told>,
    nonces: Nonces,
    dump: Option<Dump>,
}

impl Session {
    /// A new host.
    #[must_use]
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            parser: FrameParser::default(),
            input: Vec::new(),
            queue: VecDeque::new(),
            flight: None,
            ready: None,
            nonces: Nonces::new(limits.nonces_max, limits.prepared_bytes_max),
            dump: None,
        }
    }

    /// Whether it takes more bytes; while it does not, the host is made to wait.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.input.is_empty() && self.queue.len() < self.limits.queue_max
    }

    /// Whether everything that was asked is answered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flight.is_none() && self.ready.is_none()
    }

    /// Bytes that are held for the host, but for small change.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let queued = self.queue.iter().map(|queued| match &queued.what {
            Ok(Command::Prepare { payload, .. }) => payload.len(),
            _ => 0,
        });
        self.parser.held_bytes() + self.input.len() + queued.sum::<usize>()
    }

    /// Takes bytes from the host; only when [`Self::wants_input`].
    pub fn receive(&mut self, bytes: &[u8], now: Duration) {
        self.input.extend_from_slice(bytes);
        self.parse(now);
    }

    fn parse(&mut self, now: Duration) {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while self.queue.len() < self.limits.queue_max {
            let Some(next) = self.parser.next(&mut rest, now) else { break };
            self.queue.push_back(queued(next, now));
        }
        self.input = rest.to_vec();
    }

    /// Says what is to be done next.
    pub fn step(&mut self, standing: Standing, now: Duration) -> Step {
        if let Some(told) = self.ready.take() {
            return told.into_step();
        }
        if !self.wants_input() {
            self.parser.excuse(now);
        } else if let Some(error) = self.parser.expire(now) {
            self.queue.push_back(queued(Err(error), now));
        }
        if self.flight.is_some() {
            return Step::Wait(self.parser.deadline());
        }
        let Some(next) = self.queue.pop_front() else {
            return Step::Wait(self.parser.deadline());
        };
        // There is room for what was left in the input.
        self.parse(now);
        let checked = next.checked;
        match next.what.and_then(|command| self.begin(command, standing, next.arrived, now)) {
            Ok(Begun::Answered(answer)) => Told::done(answer, checked).into_step(),
            Ok(Begun::Called(call, purpose, until)) => {
                self.flight = Some(Flight { purpose, checked });
                Step::Call(call, until)
            }
            Err(fault) => Told::fault(&fault, checked).into_step(),
        }
    }

    /// Takes the reply to the call that is under way.
    pub fn replied(&mut self, reply: Reply, random: [u8; 8], now: Duration) {
        let Some(Flight { purpose, checked }) = self.flight.take() else { return };
        let answer = match (purpose, reply) {
            (Purpose::Prepare(prepared), Reply::Fits) => Ok(self.prepared(prepared, random, now)),
            (Purpose::Prepare(mut prepared), Reply::FitsAlone) => {
                prepared.alone = true;
                Ok(self.prepared(prepared, random, now))
            }
            (Purpose::Commit(nonce), Reply::Sealed(answer)) => {
                self.nonces.seal(nonce, answer.clone());
                Ok(answer)
            }
            (Purpose::Commit(nonce), Reply::InDoubt(detail)) => {
                self.nonces.doubt(&nonce, now);
                Err(in_doubt(&detail))
            }
            (Purpose::Commit(nonce), Reply::Refused(fault)) => {
                self.nonces.refuse(&nonce);
                Err(fault)
            }
            (Purpose::Find(nonce, _), Reply::Sealed(answer)) => {
                self.nonces.seal(nonce, answer.clone());
                Ok(answer)
            }
            (Purpose::Find(_, fault), Reply::NotSealed) => Err(fault),
            (Purpose::Dump(format, chunk), Reply::Chunk { records, next, to }) => {
                self.dump = next.map(|next| Dump { format, chunk, next, to });
                Ok(ok()
                    .count("chunk_index", chunk)
                    .json("records", &array(records))
                    .flag("last", next.is_none())
                    .finish())
            }
            (_, Reply::Done(answer) | Reply::Sealed(answer)) => Ok(answer),
            (_, Reply::NotNow(fault) | Reply::Refused(fault)) => Err(fault),
            (_, Reply::InDoubt(detail)) => Err(in_doubt(&detail)),
            (_, Reply::Fits | Reply::FitsAlone | Reply::NotSealed | Reply::Chunk { .. }) => {
                let detail = "the reply does not belong to the command";
                Err(Fault::new(Code::Unavailable, detail))
            }
        };
        self.ready = Some(match answer {
            Ok(text) => Told::done(text, checked),
            Err(fault) => Told::fault(&fault, checked),
        });
    }

    fn prepared(&mut self, prepared: Prepared, random: [u8; 8], now: Duration) -> String {
        let nonce = self.nonces.hold(random, prepared, now);
        let seconds = NONCE_LIFE.as_secs();
        ok().text("nonce", &nonce.to_string())
            .count("expires_in", seconds)
            .text("message", &format!("prepared; commit it within {seconds} seconds"))
            .finish()
    }

    /// Begins a command: its answer, when it needs nobody, or the call that it needs.
    fn begin(
        &mut self,
        command: Command,
        standing: Standing,
        arrived: Duration,
        now: Duration,
    ) -> Result<Begun, Fault> {
        may(&command, standing)?;
        let until = arrived + command.wait();
        if until < now + BEGIN_MIN {
            let detail = "the commands before this one took too long; nothing was done; ask again";
            return Err(Fault::new(Code::DeviceBusy, detail));
        }
        let other = |call| Ok(Begun::Called(call, Purpose::Other, until));
        match command {
            Command::Prepare { payload, terminal_id } => {
                if !self.nonces.has_room(payload.len(), now) {
                    let detail = "this terminal holds as many nonces as it may; use them first";
                    return Err(Fault::new(Code::DeviceBusy, detail));
                }
                let prepared = Prepared { payload, terminal_id, alone: false };
                let call = Call::Rehearse(prepared.clone());
                Ok(Begun::Called(call, Purpose::Prepare(prepared), until))
            }
            Command::Commit { nonce } => self.commit(nonce, until, now),
            Command::Status => other(Call::Status { nonce_pool: self.nonces.left(now) }),
            Command::Log { sequence } => other(Call::Log { sequence }),
            Command::CloseDay { date } => other(Call::CloseDay { date }),
            Command::Snapshot => other(Call::Snapshot),
            Command::Articles { since, until: end } => other(Call::Articles { since, until: end }),
            Command::DumpLog { format } => {
                let call = Call::Dump { format, from: 1, to: None };
                Ok(Begun::Called(call, Purpose::Dump(format, 0), until))
            }
            Command::Acknowledge { chunk } => self.next_chunk(chunk, until),
            Command::Reset { authorization } => other(Call::Reset { authorization }),
            Command::SetTime { timestamp, signature } => {
                other(Call::SetTime { timestamp, signature })
            }
            Command::Init { activation_code, public_key } => {
                other(Call::Init { activation_code, public_key })
            }
        }
    }

    fn commit(&mut self, nonce: Nonce, until: Duration, now: Duration) -> Result<Begun, Fault> {
        let expired = "this nonce was not committed within 7 seconds; prepare the invoice again";
        let find = |fault| {
            let call = Call::FindSeal(nonce.key());
            Ok(Begun::Called(call, Purpose::Find(nonce, fault), until))
        };
        match self.nonces.look(&nonce, now) {
            Known::Held(prepared) => {
                let call = Call::Seal(prepared, nonce.key());
                Ok(Begun::Called(call, Purpose::Commit(nonce), until))
            }
            Known::Sealed(answer) => Ok(Begun::Answered(answer)),
            Known::Expired => Err(Fault::new(Code::NonceExpired, expired)),
            Known::Forgotten => find(Fault::new(Code::NonceExpired, expired)),
            Known::Unknown => {
                let detail = "nothing was prepared here under this nonce, and nothing is sealed \
                              under it; prepare the invoice again";
                find(Fault::new(Code::InvalidNonce, detail))
            }
        }
    }

    fn next_chunk(&mut self, chunk: u64, until: Duration) -> Result<Begun, Fault> {
        let dump = self.dump.as_ref().filter(|dump| dump.chunk == chunk);
        let dump = dump.ok_or_else(|| match &self.dump {
            None => Fault::schema("no dump waits for an acknowledgement; begin with ADM|DUMPLOG"),
            Some(dump) => Fault::schema(format!("chunk {} is to be acknowledged", dump.chunk)),
        })?;
        let call = Call::Dump { format: dump.format, from: dump.next, to: Some(dump.to) };
        Ok(Begun::Called(call, Purpose::Dump(dump.format, chunk + 1), until))
    }
}

enum Begun {
    Answered(String),
    Called(Call, Purpose, Duration),
}

fn queued(next: Framed, arrived: Duration) -> Queued {
    match next {
        Ok(frame) => Queued { what: Command::parse(&frame.body), checked: frame.checked, arrived },
        Err(error) => {
            let (code, checked) = match error {
                FrameError::Checksum => (Code::ChecksumInvalid, true),
                FrameError::TooLong | FrameError::TimedOut | FrameError::Cut => {
                    (Code::SchemaInvalid, false)
                }
            };
            Queued { what: Err(Fault::new(code, error.to_string())), checked, arrived }
        }
    }
}

/// Whether a device of this standing does this.
fn may(command: &Command, standing: Standing) -> Result<(), Fault> {
    let asks_only = matches!(command, Command::Status | Command::Init { .. });
    match standing {
        Standing::Active => Ok(()),
        Standing::Registered if asks_only => Ok(()),
        Standing::Registered => {
            let detail =
                "the device has not been activated; send CFG|INIT with the operator's code";
            Err(Fault::new(Code::Unauthorized, detail))
        }
        Standing::Unregistered => {
            let detail = "no operator has registered this device";
            Err(Fault::new(Code::Unauthorized, detail))
        }
        Standing::Revoked => {
            let detail = "this device was revoked or replaced; it seals nothing any more";
            Err(Fault::new(Code::DeviceRevoked, detail))
        }
        Standing::Unheard => {
            let detail = "the cluster has not been reached yet; nothing was done; ask again";
            Err(Fault::new(Code::Unavailable, detail))
        }
    }
}

fn in_doubt(detail: &str) -> Fault {
    let detail =
        format!("it is not known whether this was done: {detail}; ask again, the same way");
    Fault { code: Code::Unavailable, detail, reason: Some("OUTCOME_UNKNOWN".to_owned()) }
}
