//! The device around its machine: a line, or several, a journal on disk, and a switch for its power.
//!
//! ```text
//! pseudo-terminal, TCP ─► connection ─► asked ─► core: machine, journal ─► answer ─► connection ─► line
//!                                        control ─┘
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fiscus_ledger::time::UnixMs;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::faults::{Act, Fault, Faults};
use super::journal::{Journal, JournalError};
use super::key::{DeviceKey, KeyError};
use super::machine::{Machine, MachineConfig};
use crate::protocol::frame::{FrameError, Framed, framed};
use crate::protocol::{Code, Command, Fault as Refusal, FrameParser};
use crate::serial::{self, Line};

/// Commands that wait for the core.
const ASKED_MAX: usize = 64;
const READ_BYTES: usize = 16 << 10;

/// Where a device's line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A pseudo-terminal, whose other end is told, and linked to from here if wanted.
    Pty(Option<PathBuf>),
    /// TCP.
    Tcp(SocketAddr),
}

/// What a simulated device is told.
#[derive(Debug)]
pub struct DefSimConfig {
    /// What it is.
    pub machine: MachineConfig,
    /// Where its key and its journal are.
    pub folder: PathBuf,
    /// Where its line is.
    pub place: Place,
    /// What goes wrong.
    pub faults: Faults,
}

/// Why a simulated device does not run.
#[derive(Debug, thiserror::Error)]
pub enum DefSimError {
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What its journal says.
    #[error("the journal is not one of this device: remove it, or give the device that it is of")]
    Foreign,
    /// Its line.
    #[error("the line cannot be opened: {0}")]
    Line(std::io::Error),
}

/// When the power goes during the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing is stored.
    Before,
    /// Half of the entry is.
    Torn,
    /// The entry is, and no answer leaves.
    After,
}

enum ToCore {
    Asked { host: u64, command: Result<Command, Refusal>, reply: oneshot::Sender<Option<Answered>> },
    HungUp(u64),
    Control(Control, oneshot::Sender<String>),
}

struct Answered {
    body: String,
    fault: Option<Fault>,
}

/// What is done to a device from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    /// The power goes and comes back after so long.
    PowerCut(Duration),
    /// The power goes during the next commit.
    CutNext(Cut, Duration),
    Busy(Duration),
    Clock(Option<UnixMs>),
    Memory(u64),
    LoseNext(u64),
    Entries,
}

/// A running device.
#[derive(Debug)]
pub struct DefSim {
    core: mpsc::Sender<ToCore>,
    plugged: watch::Sender<bool>,
    tasks: JoinSet<()>,
    path: Option<PathBuf>,
    address: Option<SocketAddr>,
    public_key: Vec<u8>,
    entries: u64,
}

impl DefSim {
    /// Powers a device on and plugs it in.
    pub async fn start(config: DefSimConfig) -> Result<Self, DefSimError> {
        std::fs::create_dir_all(&config.folder).map_err(DefSimError::Line)?;
        let core = Core::power_on(&config)?;
        let public_key = core.machine.public_key();
        let entries = u64::try_from(core.machine.entries().len()).unwrap_or(0);
        let (to_core, from_lines) = mpsc::channel(ASKED_MAX);
        let (plugged, is_plugged) = watch::channel(true);
        // Whoever holds a line lets it go when this rises.
        let (power, powered) = watch::channel(0_u64);
        let mut tasks = JoinSet::new();
        let mut sim = Self {
            core: to_core.clone(),
            plugged,
            tasks: JoinSet::new(),
            path: None,
            address: None,
            public_key,
            entries,
        };
        let lines =
            Lines { core: to_core, plugged: is_plugged, powered, faults: config.faults.clone() };
        match &config.place {
            Place::Pty(link) => {
                let pty = Pty::open(link.clone()).map_err(DefSimError::Line)?;
                sim.path = Some(link.clone().unwrap_or_else(|| pty.path.clone()));
                tasks.spawn(lines.pty(pty, link.clone()));
            }
            Place::Tcp(address) => {
                let socket = TcpListener::bind(address).await.map_err(DefSimError::Line)?;
                sim.address = Some(socket.local_addr().map_err(DefSimError::Line)?);
                tasks.spawn(lines.tcp(socket));
            }
        }
        tasks.spawn(core.run(config, from_lines, power));
        sim.tasks = tasks;
        Ok(sim)
    }

    /// The stable path of its pseudo-terminal.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// Where it is reached over TCP.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// How many entries its journal held when it was started.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Does what a line of control says; the answer says what was done. `power-cut [MS]`,
    /// `cut-commit before|torn|after [MS]`, `unplug`, `plug`, `busy MS`, `lose N`, `clock TIME|reset|real`,
    /// `memory BYTES`, `entries`.
    pub async fn control(&self, line: &str) -> String {
        let mut words = line.split_ascii_whitespace();
        let (verb, first, second) = (words.next(), words.next(), words.next());
        let number = |text: Option<&str>, absent: u64| match text {
            None => Some(absent),
            Some(text) => text.parse().ok(),
        };
        let pause = |text| number(text, 500).map(Duration::from_millis);
        let control = match (verb, first) {
            (Some("unplug"), None) => {
                self.plugged.send_replace(false);
                return "unplugged".to_owned();
            }
            (Some("plug"), None) => {
                self.plugged.send_replace(true);
                return "plugged".to_owned();
            }
            (Some("power-cut"), _) => pause(first).map(Control::PowerCut),
            (Some("cut-commit"), Some(at)) => {
                let cut = match at {
                    "before" => Some(Cut::Before),
                    "torn" => Some(Cut::Torn),
                    "after" => Some(Cut::After),
                    _ => None,
                };
                cut.zip(pause(second)).map(|(cut, pause)| Control::CutNext(cut, pause))
            }
            (Some("busy"), _) => pause(first).map(Control::Busy),
            (Some("lose"), _) => number(first, 1).map(Control::LoseNext),
            (Some("clock"), Some("real")) => Some(Control::Clock(None)),
            (Some("clock"), Some("reset")) => Some(Control::Clock(Some(UnixMs::new(0)))),
            (Some("clock"), Some(time)) => {
                UnixMs::parse_lenient(time).map(|time| Control::Clock(Some(time)))
            }
            (Some("memory"), Some(bytes)) => bytes.parse().ok().map(Control::Memory),
            (Some("entries"), None) => Some(Control::Entries),
            _ => None,
        };
        let Some(control) = control else { return format!("not understood: {line}") };
        let (told, done) = oneshot::channel();
        if self.core.send(ToCore::Control(control, told)).await.is_err() {
            return "the device has ended".to_owned();
        }
        done.await.unwrap_or_else(|_| "the device has ended".to_owned())
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The machine, its journal, and what is to go wrong next.
struct Core {
    machine: Machine,
    journal: Journal,
    random: SystemRandom,
    began: Instant,
    busy_until: Option<Instant>,
    /// The device's clock, and when it was set to it.
    clock: Option<(UnixMs, Instant)>,
    lose: u64,
    cut: Option<(Cut, Duration)>,
    faults: Faults,
}

/// An entry of the journal without its last member, the invoice.
fn without_invoice(answer: String) -> String {
    match answer.split_once(",\"invoice\":{") {
        Some((entry, _)) if answer.contains("\"log_entry\":") => format!("{entry}}}}}"),
        _ => answer,
    }
}

impl Core {
    fn power_on(config: &DefSimConfig) -> Result<Self, DefSimError> {
        let key = DeviceKey::open(&config.folder.join("key.pk8"))?;
        let (journal, lines) = Journal::open(&config.folder.join("journal"))?;
        let machine = Machine::power_on(config.machine.clone(), key, &lines);
        Ok(Self {
            machine: machine.ok_or(DefSimError::Foreign)?,
            journal,
            random: SystemRandom::new(),
            began: Instant::now(),
            busy_until: None,
            clock: None,
            lose: 0,
            cut: None,
            faults: config.faults.clone(),
        })
    }

    async fn run(
        mut self,
        mut config: DefSimConfig,
        mut asked: mpsc::Receiver<ToCore>,
        power: watch::Sender<u64>,
    ) {
        while let Some(asked) = asked.recv().await {
            let cut = match asked {
                ToCore::HungUp(host) => {
                    self.machine.hung_up(host);
                    None
                }
                ToCore::Asked { host, command, reply } => {
                    let (answer, cut) = self.ask(host, command);
                    // A line that is gone needs no answer.
                    let _ = reply.send(answer);
                    cut
                }
                ToCore::Control(control, told) => {
                    if let Control::Memory(bytes) = &control {
                        // It is built in: it does not go with the power.
                        config.machine.memory_bytes = *bytes;
                    }
                    let (answer, cut) = self.control(control);
                    let _ = told.send(answer);
                    cut
                }
            };
            let Some(pause) = cut else { continue };
            // Without power there are no lines, no nonces and no clock; the journal stays.
            power.send_modify(|count| *count += 1);
            sleep(pause).await;
            match Self::power_on(&config) {
                Ok(core) => self = core,
                Err(error) => {
                    tracing::error!(%error, "the simulated device does not come back");
                    return;
                }
            }
            power.send_modify(|count| *count += 1);
        }
    }

    fn ask(
        &mut self,
        host: u64,
        command: Result<Command, Refusal>,
    ) -> (Option<Answered>, Option<Duration>) {
        let fault = self.faults.next();
        if fault == Some(Fault::Busy) || self.busy_until.is_some_and(|until| Instant::now() < until)
        {
            let busy = Refusal::new(Code::DeviceBusy, "the device is busy");
            return (Some(Answered { body: busy.to_json(), fault: None }), None);
        }
        let commits = matches!(command, Ok(Command::Commit { .. }));
        let mut random = [0; 8];
        if self.random.fill(&mut random).is_err() {
            return (None, None);
        }
        let (now, clock) = (self.began.elapsed(), self.now());
        let handled = self.machine.handle(host, command, now, clock, random);
        if let Some(stored) = &handled.store {
            let cut = self.cut.take_if(|_| commits);
            let written = match cut {
                Some((Cut::Before, _)) => Ok(()),
                Some((Cut::Torn, _)) => self.journal.append_torn(&stored.0, stored.0.len() / 2),
                Some((Cut::After, _)) | None => self.journal.append(&stored.0),
            };
            if let Some((_, pause)) = cut {
                return (None, Some(pause));
            }
            if let Err(error) = written {
                tracing::error!(%error, "the simulated device cannot store");
                // What is not stored is not so: it comes back as its journal says.
                return (None, Some(Duration::from_millis(100)));
            }
        }
        let lost = self.lose > 0;
        self.lose = self.lose.saturating_sub(1);
        let fault = if lost { Some(Fault::Lose) } else { fault };
        let body = if self.faults.terse { without_invoice(handled.answer) } else { handled.answer };
        (Some(Answered { body, fault }), None)
    }

    fn control(&mut self, control: Control) -> (String, Option<Duration>) {
        let answer = match control {
            Control::PowerCut(pause) => return ("the power is cut".to_owned(), Some(pause)),
            Control::CutNext(cut, pause) => {
                self.cut = Some((cut, pause));
                format!("the power is cut during the next commit, {cut:?}")
            }
            Control::Busy(time) => {
                self.busy_until = Some(Instant::now() + time);
                "busy".to_owned()
            }
            Control::Clock(time) => {
                self.clock = time.map(|time| (time, Instant::now()));
                format!("the clock says {}", self.now())
            }
            Control::Memory(bytes) => {
                self.machine.set_memory(bytes);
                format!("the memory has {bytes} bytes")
            }
            Control::LoseNext(count) => {
                self.lose = count;
                format!("{count} answers are lost")
            }
            Control::Entries => self.machine.entries().len().to_string(),
        };
        (answer, None)
    }

    fn now(&self) -> UnixMs {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (from, passed) = match self.clock {
            Some((set, at)) => (set.get(), at.elapsed()),
            None => (0, real),
        };
        UnixMs::new(from.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(0)))
    }
}

/// What connections have in common.
#[derive(Clone)]
struct Lines {
    core: mpsc::Sender<ToCore>,
    plugged: watch::Receiver<bool>,
    powered: watch::Receiver<u64>,
    faults: Faults,
}

/// A pseudo-terminal: the device holds one end of it.
struct Pty {
    line: Line,
    path: PathBuf,
    /// While somebody holds the other end, too, the device does not see that its host comes and goes, as over USB.
    _other: std::fs::File,
}

impl Pty {
    fn open(link: Option<PathBuf>) -> std::io::Result<Self> {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&own)?;
        unlockpt(&own)?;
        let name = ptsname(&own, Vec::new())?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let other = std::fs::OpenOptions::new().read(true).write(true).open(&path)?;
        serial::make_raw(&other)?;
        let line = serial::line_of(own.into())?;
        if let Some(link) = link {
            // A new link takes the place of the old one in one step.
            let beside = link.with_extension("new");
            let _ = std::fs::remove_file(&beside);
            std::os::unix::fs::symlink(&path, &beside)?;
            std::fs::rename(&beside, &link)?;
        }
        Ok(Self { line, path, _other: other })
    }
}

impl Lines {
    /// Serves a pseudo-terminal; after it was unplugged, or without power, another one.
    async fn pty(mut self, first: Pty, link: Option<PathBuf>) {
        let mut pty = Some(first);
        let mut host = 0;
        loop {
            host += 1;
            let Some(open) = pty.take() else { return };
            self.clone().converse(host, open.line).await;
            if let Some(link) = &link {
                let _ = std::fs::remove_file(link);
            }
            if self.wait_for_line().await.is_none() {
                return;
            }
            match Pty::open(link.clone()) {
                Ok(open) => pty = Some(open),
                Err(error) => tracing::error!(%error, "no pseudo-terminal"),
            }
        }
    }

    async fn tcp(mut self, socket: TcpListener) {
        let mut hosts = JoinSet::new();
        let mut host = 0;
        loop {
            if self.wait_for_line().await.is_none() {
                return;
            }
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = self.plugged.changed() => continue,
                _ = hosts.join_next(), if !hosts.is_empty() => continue,
            };
            if let Ok((stream, _)) = accepted {
                host += 1;
                hosts.spawn(self.clone().converse(host, stream));
            }
        }
    }

    /// Waits until the cable is in and there is power.
    async fn wait_for_line(&mut self) -> Option<()> {
        self.powered.wait_for(|count| count % 2 == 0).await.ok()?;
        self.plugged.wait_for(|plugged| *plugged).await.ok()?;
        Some(())
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut self, host: u64, mut stream: S) {
        self.powered.borrow_and_update();
        let mut parser = FrameParser::default();
        let mut buffer = vec![0; READ_BYTES];
        let began = Instant::now();
        'line: loop {
            let read = tokio::select! {
                read = stream.read(&mut buffer) => read,
                _ = self.powered.changed() => break,
                gone = self.plugged.wait_for(|plugged| !*plugged) => {
                    drop(gone);
                    break;
                }
            };
            let Ok(read @ 1..) = read else { break };
            let mut rest = &buffer[..read];
            while let Some(next) = parser.next(&mut rest, began.elapsed()) {
                let (command, checked) = command_of(next);
                let Some(answer) = self.ask(host, command).await else { break 'line };
                let bytes = framed(&answer.body, checked);
                for act in self.faults.deliver(answer.fault, bytes) {
                    let done = tokio::select! {
                        done = act_on(&mut stream, act) => done,
                        _ = self.powered.changed() => break 'line,
                        gone = self.plugged.wait_for(|plugged| !*plugged) => {
                            drop(gone);
                            break 'line;
                        }
                    };
                    if done.is_err() {
                        break 'line;
                    }
                }
            }
        }
        let _ = self.core.send(ToCore::HungUp(host)).await;
    }

    async fn ask(&self, host: u64, command: Result<Command, Refusal>) -> Option<Answered> {
        let (reply, answered) = oneshot::channel();
        self.core.send(ToCore::Asked { host, command, reply }).await.ok()?;
        answered.await.ok()?
    }
}

async fn act_on<S: AsyncWrite + Unpin>(stream: &mut S, act: Act) -> std::io::Result<()> {
    match act {
        Act::Pause(time) => sleep(time).await,
        Act::Write(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
        }
    }
    Ok(())
}

fn command_of(next: Framed) -> (Result<Command, Refusal>, bool) {
    match next {
        Ok(frame) => (Command::parse(&frame.body), frame.checked),
        Err(error) => {
            let code = match error {
                FrameError::Checksum => Code::ChecksumInvalid,
                FrameError::TooLong | FrameError::TimedOut | FrameError::Cut => Code::SchemaInvalid,
            };
            (Err(Refusal::new(code, error.to_string())), error == FrameError::Checksum)
        }
    }
}
