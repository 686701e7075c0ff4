//! Every command, as a host says it and as the device answers: the same over TCP and over a pseudo-terminal.

use ed25519_dalek::Signer;
use fiscus_device_proxy::protocol::frame::framed;
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::time::UnixMs;
use rustix::fs::OFlags;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Join};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::cluster::{Cluster, LIMIT};
use super::host::{Host, code, field, until};
use super::world::{CODE, DEVICE, World, dgi, init, sale};

/// Today by the cluster's clock.
async fn today<S: AsyncRead + AsyncWrite + Unpin>(host: &mut Host<S>) -> String {
    let status = until(host, "QRY|STATUS", |answer| code(answer) == "OK").await;
    field(&status, "last_sync_timestamp").expect("a time")[..10].to_owned()
}

/// Says everything there is to say to a device that waits for its activation.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(host: &mut Host<S>) {
    host.title("A device is bound to its outlet");
    host.ask("QRY|LOG 1").await;
    host.ask("QRY|STATUS").await;
    host.ask(&init("another-device/7F3K-9QHM-2T5W-XA6E")).await;
    host.ask(&init("def-gombe-1/0000-0000-0000-0000")).await;
    assert_eq!(code(&host.ask(&init(CODE)).await), "OK");
    host.ask(&init(CODE)).await;

    host.title("An invoice is prepared and committed; a lost answer is asked for again");
    let nonce = host.prepare(&sale(1_000)).await;
    let sealed = host.commit(&nonce).await;
    assert_eq!(host.commit(&nonce).await, sealed, "the same bytes");
    host.ask(&format!("TXN|PREPARE {}", sale(1_000))).await;

    host.title("What is sealed is read");
    host.ask("QRY|STATUS").await;
    host.ask("QRY|LOG 1").await;
    host.ask("QRY|LOG 2").await;

    host.title("Reports");
    let today = today(host).await;
    host.ask("RPT|X {\"period\":\"day\"}").await;
    let (since, until) = (format!("{today}T00:00:00Z"), "9999-01-01");
    host.ask(&format!("RPT|A {{\"since\":\"{since}\",\"until\":\"{until}\"}}")).await;
    host.ask("RPT|A {\"since\":\"2001-01-01\",\"until\":\"2001-01-02\"}").await;
    let closed = host.ask(&format!("RPT|Z {{\"date\":\"{today}\"}}")).await;
    assert_eq!(host.ask(&format!("RPT|Z {{\"date\":\"{today}\"}}")).await, closed, "closed once");
    host.ask("RPT|Z {\"date\":\"2001-01-01\"}").await;

    host.title("The journal is dumped chunk by chunk");
    host.ask("ADM|DUMPLOG {\"format\":\"json\"}").await;
    host.ask("ADM|DUMPLOG {\"format\":\"digest\"}").await;
    host.ask("ADM|ACK 0").await;

    host.title("The tax authority's commands");
    for (timestamp, by) in [("2001-01-01T00:00:00.000Z", 7), ("9000-01-01T00:00:00.000Z", 7)] {
        host.ask(&time(timestamp, by)).await;
    }
    host.ask(&time("9000-01-01T00:00:00.000Z", 8)).await;
    let token = encode_standard(&[0; 64]);
    host.ask(&format!("ADM|RESET {{\"dgi_authorization\":\"{token}\"}}")).await;
}

/// A time signed by the tax authority, or by somebody else.
fn time(timestamp: &str, by: u8) -> String {
    let moment = UnixMs::parse_canonical(timestamp).expect("a time");
    let key = if by == 7 { dgi() } else { ed25519_dalek::SigningKey::from_bytes(&[by; 32]) };
    let message = format!("CFG|TIME|{DEVICE}|{moment}");
    let signature = encode_standard(&key.sign(message.as_bytes()).to_bytes());
    format!("CFG|TIME {{\"timestamp\":\"{timestamp}\",\"signature\":\"{signature}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_over_tcp() {
    let world = World::registered(Cluster::start(1).await, Vec::new()).await;
    let mut host = world.host().await;
    converse(&mut host).await;
    host.matches("every_command");
}

/// A pair of pseudo-terminals, as `socat` makes it.
struct Pair(Child);

impl Pair {
    fn new(device: &Path, host: &Path) -> Self {
        let end = |path: &Path| format!("pty,raw,echo=0,link={}", path.display());
        let mut command = Command::new("socat");
        command.args([end(device), end(host)]).stdin(Stdio::null());
        Self(command.spawn().expect("socat starts; `make setup` installs it"))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn open(path: &Path) -> Host<Join<Receiver, Sender>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let flags = i32::try_from(flags).expect("flags are few");
    let opening = async {
        loop {
            let line = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
            match line {
                Ok(line) => return line,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let line = tokio::time::timeout(LIMIT, opening).await.expect("the line is there");
    let other = line.try_clone().expect("a second handle");
    let sender = Sender::from_file_unchecked(other).expect("it is written");
    Host::new(tokio::io::join(Receiver::from_file_unchecked(line).expect("it is read"), sender))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_over_a_pseudo_terminal_that_comes_and_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (device, line) = (dir.path().join("ttyGS0"), dir.path().join("ttyACM0"));
    let world = World::registered(Cluster::start(1).await, vec![device.clone()]).await;
    let pair = Pair::new(&device, &line);
    let mut host = open(&line).await;
    converse(&mut host).await;
    host.matches("every_command");
    // The cable is pulled and put back.
    drop((host, pair));
    let _pair = Pair::new(&device, &line);
    let mut host = open(&line).await;
    let nonce = host.prepare(&sale(2_000)).await;
    assert_eq!(code(&host.commit(&nonce).await), "OK");
    world.proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_none() {
    let world = World::start().await;
    let mut host = world.host().await;
    let mut say = async |title: &str, shown: &str, bytes: Vec<u8>| {
        host.title(title);
        host.send(&bytes).await;
        let answer = host.answer().await;
        host.note(shown, &answer);
    };
    say("A checksum is answered with one", "QRY|LOG 9*…", framed("QRY|LOG 9", true)).await;
    let wrong = b"\x02QRY|LOG 9*00000000\x03".to_vec();
    say("A wrong checksum", "QRY|LOG 9*00000000", wrong).await;
    say("No command", "TXN|VOID {}", framed("TXN|VOID {}", false)).await;
    say("No JSON", "TXN|COMMIT {", framed("TXN|COMMIT {", false)).await;
    let control = framed("TXN|COMMIT {\"nonce\":\"a\u{7}b\"}", false);
    say("A control byte in a text", "TXN|COMMIT {\"nonce\":\"a<7>b\"}", control).await;
    say("No nonce", "TXN|COMMIT {\"nonce\":\"1\"}", framed("TXN|COMMIT {\"nonce\":\"1\"}", false))
        .await;
    let never = format!("TXN|COMMIT {{\"nonce\":\"{}\"}}", "0".repeat(48));
    say("A nonce of nobody", &never, framed(&never, false)).await;
    let lenient = sale(1).replace("\"quantity\":\"1\"", "\"quantity\":\"1.0\"");
    let lenient = format!("TXN|PREPARE {lenient}");
    say("An invoice that is not canonical", &lenient, framed(&lenient, false)).await;
    let foreign = format!("TXN|PREPARE {}", sale(1).replace("outlet-gombe", "outlet-goma"));
    say("An invoice of another outlet", &foreign, framed(&foreign, false)).await;
    let mut long = vec![2];
    long.resize((1 << 20) + 2, b'x');
    say("A frame that is too long", "xxx…", long).await;
    say("The next one, after noise", "noise QRY|LOG 9", b"noise\x02QRY|LOG 9\x03".to_vec()).await;
    host.send(b"\x02TXN|PRE\x02QRY|LOG 9\x03").await;
    host.title("A frame that another one cuts");
    let (cut, answer) = (host.answer().await, host.answer().await);
    host.note("TXN|PRE", &cut);
    host.note("QRY|LOG 9", &answer);
    host.title("A frame that stays open");
    host.send(b"\x02TXN|PRE").await;
    let answer = host.answer().await;
    host.note("TXN|PRE", &answer);
    host.matches("broken_frames");
}
