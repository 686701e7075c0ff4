//! Every command, as a host says it and as the device answers: the same over TCP and over a pseudo-terminal.

use ed25519_dalek::Signer;
use fiscus_device_proxy::protocol::frame::framed;
use fiscus_ledger::base64::encode_standard;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::cluster::Cluster;
use super::host::{Host, code, field, until};
use super::line::{Pair, open};
use super::world::{CODE, DEVICE, World, dgi, init, register_authority_key, sale, signed_time};

/// Today by the cluster's clock.
async fn today<S: AsyncRead + AsyncWrite + Unpin>(host: &mut Host<S>) -> String {
    let status = until(host, "QRY|STATUS", |answer| code(answer) == "OK").await;
    field(&status, "last_sync_timestamp").expect("a time")[..10].to_owned()
}

/// Says everything there is to say to a device that waits for its activation.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(host: &mut Host<S>, cluster: &Cluster) {
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
    let (past, future) = ("2001-01-01T00:00:00.000Z", "9000-01-01T00:00:00.000Z");
    host.ask(&signed_time(future, &dgi())).await;
    let leave = |life: u64| {
        let message = fiscus_ledger::commands::leave_message(DEVICE, life);
        let token = encode_standard(&dgi().sign(message.as_bytes()).to_bytes());
        format!("ADM|RESET {{\"dgi_authorization\":\"{token}\"}}")
    };
    host.ask(&leave(2)).await;
    host.title("The same once an operator has registered the tax authority's key");
    register_authority_key(cluster, &dgi(), 0).await;
    for timestamp in [past, future] {
        host.ask(&signed_time(timestamp, &dgi())).await;
    }
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    host.ask(&signed_time(future, &stranger)).await;
    // Life 1 began with CFG|INIT.
    host.ask(&leave(3)).await;
    let opened = host.ask(&leave(2)).await;
    assert_eq!(host.ask(&leave(2)).await, opened, "a leave opens one life, once");
    host.ask(&leave(1)).await;
    host.ask("QRY|STATUS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_over_tcp() {
    let world = World::registered(Cluster::start(1).await, Vec::new()).await;
    let mut host = world.host().await;
    converse(&mut host, &world.cluster).await;
    host.matches("every_command");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_over_a_pseudo_terminal_that_comes_and_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (device, line) = (dir.path().join("ttyGS0"), dir.path().join("ttyACM0"));
    let world = World::registered(Cluster::start(1).await, vec![device.clone()]).await;
    let pair = Pair::new(&device, &line);
    let mut host = open(&line).await;
    converse(&mut host, &world.cluster).await;
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

/// Two hosts, whose frames lie between each other, and commands that are sent without waiting.
async fn interleave<S: AsyncRead + AsyncWrite + Unpin>(
    one: &mut Host<S>,
    two: &mut Host<TcpStream>,
) {
    one.title("A frame of one host is not cut by a frame of another; 1 and 2 are the hosts");
    let prepare = [1_000, 2_000].map(|price| format!("TXN|PREPARE {}", sale(price)));
    let frame = framed(&prepare[0], false);
    let (begin, end) = frame.split_at(frame.len() / 2);
    one.send(begin).await;
    two.send(&framed(&prepare[1], false)).await;
    let second = two.answer().await;
    one.send(end).await;
    let first = one.answer().await;
    let said = [(&prepare[1], &second, ["2>", "2<"]), (&prepare[0], &first, ["1>", "1<"])];
    for (asked, answer, [to, from]) in said {
        one.line(to, asked);
        one.line(from, answer);
    }

    one.title("Each commits what it has prepared; the numbers are of the order of the commits");
    let commit = |prepared: &str| {
        format!("TXN|COMMIT {{\"nonce\":\"{}\"}}", field(prepared, "nonce").expect("a nonce"))
    };
    let (first, second) = (commit(&first), commit(&second));
    let sealed = two.ask(&second).await;
    one.line("2>", &second);
    one.line("2<", &sealed);
    one.send(&framed(&first, false)).await;
    let sealed = one.answer().await;
    one.line("1>", &first);
    one.line("1<", &sealed);

    one.title("Four commands without waiting, one of them broken: four answers, in their order");
    let asked = ["QRY|LOG 1", "QRY|LOG 9*00000000", "TXN|VOID {}", "QRY|LOG 9"];
    let bytes = asked.map(|body| format!("\u{2}{body}\u{3}")).concat();
    one.send(bytes.as_bytes()).await;
    for body in asked {
        one.line("1>", body);
    }
    for _ in asked {
        let answer = one.answer().await;
        one.line("1<", &answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_talk_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (device, line) = (dir.path().join("ttyGS0"), dir.path().join("ttyACM0"));
    let world = World::registered(Cluster::start(1).await, vec![device.clone()]).await;
    world.activate().await;
    let _pair = Pair::new(&device, &line);
    let mut one = open(&line).await;
    interleave(&mut one, &mut world.host().await).await;
    one.matches("hosts_that_talk_at_once");
    // And the same with both over TCP.
    let world = World::start().await;
    let mut one = world.host().await;
    interleave(&mut one, &mut world.host().await).await;
    one.matches("hosts_that_talk_at_once");
}
