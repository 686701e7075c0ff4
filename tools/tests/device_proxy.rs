//! The device proxy of `fiscus demo` and the devices that operators make, with real processes.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::json::Value;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use support::{Demo, fiscus, fresh, signal, text, until};

const WAIT: Duration = Duration::from_secs(30);

/// Sends a command and reads its answer; nothing when there is nobody.
fn try_ask(stream: &mut TcpStream, body: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(WAIT))?;
    stream.write_all(format!("\u{2}{body}\u{3}").as_bytes())?;
    let (mut answer, mut byte) = (Vec::new(), [0]);
    loop {
        stream.read_exact(&mut byte)?;
        match byte[0] {
            2 => answer.clear(),
            3 => return Ok(String::from_utf8(answer).unwrap()),
            other => answer.push(other),
        }
    }
}

fn ask(stream: &mut TcpStream, body: &str) -> String {
    try_ask(stream, body).unwrap()
}

fn nonce(prepared: &str) -> String {
    text(&Value::parse(prepared).unwrap(), "nonce")
}

/// What an operator's command ends with, and says.
fn admin(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = fiscus().args(["admin", "--dir"]).arg(dir).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn the_tax_authority_lets_a_device_begin_a_new_life(dir: &Path, host: &mut TcpStream) {
    let authority = SigningKey::from_bytes(&[7; 32]);
    let key = encode_standard(authority.verifying_key().as_bytes());
    let mut reset = |device: &str, life: u64| {
        let message = format!("ADM|RESET|{device}|{life}");
        let leave = encode_standard(&authority.sign(message.as_bytes()).to_bytes());
        ask(host, &format!("ADM|RESET {{\"dgi_authorization\":\"{leave}\"}}"))
    };
    assert_eq!(admin(dir, &["devices", "authority-key"]).0, Some(1), "none is registered");
    assert!(reset("def-gombe-1", 2).contains("UNAUTHORIZED"));
    assert_eq!(admin(dir, &["devices", "authority-key", "--set", "AAAA", "--yes"]).0, Some(2));
    let set = ["devices", "authority-key", "--set", &key];
    assert_eq!(admin(dir, &set).0, Some(2), "nobody was asked");
    assert_eq!(admin(dir, &[&set[..], &["--yes"]].concat()).0, Some(0));
    assert_eq!(admin(dir, &["devices", "authority-key"]), (Some(0), format!("{key}\n")));

    for (device, life) in [("def-gombe-1", 1), ("def-gombe-1", 3), ("def-gombe-2", 2)] {
        assert!(reset(device, life).contains("UNAUTHORIZED"), "{device} {life}");
    }
    let opened = "{\"status\":\"OK\",\"life\":2}";
    assert_eq!([reset("def-gombe-1", 2), reset("def-gombe-1", 2)], [opened, opened]);
    assert!(reset("def-gombe-1", 3).contains("\"life\":3"));
    assert!(reset("def-gombe-1", 2).contains("UNAUTHORIZED"), "its life is over");
    let (exit, shown) = admin(dir, &["devices", "show", "def-gombe-1", "--json"]);
    assert!(exit == Some(0) && shown.contains("\"state\":\"active\""), "{shown}");
    assert_eq!(admin(dir, &["devices", "show", "def-unknown"]).0, Some(1));
}

fn operators_set_who_seals(dir: &Path, host: &mut TcpStream, sale: &str) {
    let prepare = format!("TXN|PREPARE {}", sale.replace("MP261120.0815.C78", "MP261120.0815.C79"));
    let mut until_answered = |part: &str| {
        let began = Instant::now();
        loop {
            let answer = ask(host, &prepare);
            if answer.contains(part) {
                return;
            }
            assert!(began.elapsed() < WAIT, "{part}: {answer}");
        }
    };
    let mode = |mode| ["outlets", "signing-mode", "outlet-gombe", mode, "--yes"];
    assert_eq!(admin(dir, &mode("def")).0, Some(0));
    until_answered("SIGNING_MODE_DEF");
    assert_eq!(admin(dir, &mode("cluster")).0, Some(0));
    until_answered("\"nonce\"");
}

fn operators_register_replace_and_revoke(dir: &Path) {
    let run = |arguments: &[&str]| admin(dir, arguments);
    let register = ["devices", "register", "--id", "def-2", "--outlet", "outlet-gombe", "--yes"];
    let (exit, code) = run(&register);
    assert_eq!(exit, Some(0));
    assert!(code.starts_with("def-2/") && code.trim().len() == "def-2/".len() + 19, "{code}");
    assert_eq!(run(&register).0, Some(1), "an id is registered once");
    assert_eq!(run(&["devices", "replace", "def-2", "--by", "def-3", "--yes"]).0, Some(0));
    let (_, list) = run(&["devices", "list", "--json"]);
    assert!(list.contains("\"state\":\"replaced\",\"replaced_by\":\"def-3\""), "{list}");
    assert_eq!(run(&["devices", "revoke", "def-gombe-1", "--yes"]).0, Some(0));
    assert_eq!(run(&["devices", "revoke", "def-gombe-1", "--yes"]).0, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_has_a_device_whose_proxy_may_be_killed() {
    let dir = fresh("device-demo");
    let demo = Demo::start_with(&dir, &["--nodes", "1"]);
    let support::DeviceAt { addr: place, device_id, outlet_id, merchant_nif } = demo.device.clone();
    assert_eq!([device_id, outlet_id, merchant_nif], ["def-gombe-1", "outlet-gombe", "A1234567B"]);
    let mut host = TcpStream::connect(&place).unwrap();
    let sale = std::fs::read_to_string(dir.join("device-proxy/sale.json")).unwrap();
    let prepared = ask(&mut host, &format!("TXN|PREPARE {sale}"));
    let commit = format!("TXN|COMMIT {{\"nonce\":\"{}\"}}", nonce(&prepared));
    let sealed = ask(&mut host, &commit);
    assert!(sealed.contains("\"fiscal_number\":\"KIN-GOMBE-"), "{sealed}");

    let killed = demo.device_proxy_pid().expect("it runs");
    signal("KILL", killed);
    until("it is back", WAIT, || demo.device_proxy_pid().is_some_and(|pid| pid != killed)).await;
    until("the seal is told again, byte for byte", WAIT, || {
        let Ok(mut host) = TcpStream::connect(&place) else { return false };
        try_ask(&mut host, &commit).is_ok_and(|answer| answer == sealed)
    })
    .await;

    // A cluster that hangs: the host is answered in time, and never that something has failed.
    let mut host = TcpStream::connect(&place).unwrap();
    let sale = sale.replace("MP261120.0815.C77", "MP261120.0815.C78");
    let prepared = ask(&mut host, &format!("TXN|PREPARE {sale}"));
    let commit = format!("TXN|COMMIT {{\"nonce\":\"{}\"}}", nonce(&prepared));
    let (_, node) = demo.pids()[0];
    signal("STOP", node);
    let prepare = format!("TXN|PREPARE {sale}");
    for (body, seconds) in [(commit.as_str(), 5), (&prepare, 5), ("QRY|STATUS", 2)] {
        let began = Instant::now();
        let answer = ask(&mut host, body);
        assert!(answer.contains("UNAVAILABLE"), "{body}: {answer}");
        assert!(!answer.contains("code: '") && !answer.contains("source:"), "{body}: {answer}");
        assert!(began.elapsed() <= Duration::from_secs(seconds), "{body}: {:?}", began.elapsed());
    }
    signal("CONT", node);
    let mut commit = commit;
    until("the sale is sealed", WAIT, || {
        let answer = ask(&mut host, &commit);
        if answer.contains("NONCE_EXPIRED") {
            // It had never reached the cluster, which is known for sure: the invoice is prepared again.
            let prepared = ask(&mut host, &prepare);
            if prepared.contains("\"nonce\"") {
                commit = format!("TXN|COMMIT {{\"nonce\":\"{}\"}}", nonce(&prepared));
            }
        }
        answer.contains("\"status\":\"OK\"")
    })
    .await;
    assert!(ask(&mut host, &prepare).contains("REPLAY_DETECTED"), "and only once");

    the_tax_authority_lets_a_device_begin_a_new_life(&dir, &mut host);
    operators_set_who_seals(&dir, &mut host, &sale);
    operators_register_replace_and_revoke(&dir);
    let mut host = TcpStream::connect(&place).unwrap();
    until("the device says so", Duration::from_secs(5), || {
        ask(&mut host, "QRY|STATUS").contains("DEVICE_REVOKED")
    })
    .await;
    demo.stop();
}

/// Publishes the built-in tax table anew, in force so many hours from now; what is said.
fn publish(dir: &Path, hours: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let from = UnixMs::new(u64::try_from(now).unwrap() + hours * 3_600_000).to_string();
    let known = Manifest::builtin();
    let text = known
        .to_json()
        .replace(&known.effective_from().to_string(), &from)
        .replace(known.version(), &format!("in-{hours}-hours"));
    let file = dir.join(format!("manifest-{hours}.json"));
    std::fs::write(&file, text).unwrap();
    let arguments = format!("manifest publish {} --yes", file.display());
    let (done, said) = support::admin(dir, &arguments);
    assert!(done, "{said}");
    said
}

/// `fiscus demo --offline`: its device is lent numbers, and sells when the cluster hangs.
#[tokio::test]
async fn a_demonstration_sells_while_its_cluster_is_away() {
    let dir = fresh("device-demo-offline");
    let demo = Demo::start_with(&dir, &["--nodes", "1", "--offline"]);
    let mut host = TcpStream::connect(&demo.device.addr).unwrap();
    until("numbers are lent", WAIT, || {
        let (_, shown) = admin(&dir, &["devices", "show", "def-gombe-1", "--json"]);
        shown.contains("\"numbers_left\":100")
    })
    .await;
    assert!(publish(&dir, 71).contains("less than 72 hours"), "shops that are away are warned of");
    assert!(!publish(&dir, 73).contains("72 hours"));

    let (_, node) = demo.pids()[0];
    signal("STOP", node);
    let sale = std::fs::read_to_string(dir.join("device-proxy/sale.json")).unwrap();
    let (before, rest) = sale.split_once("\"timestamp\":\"").unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let authored = UnixMs::new(u64::try_from(now).unwrap() + 3_600_000);
    let sale = format!("{before}\"timestamp\":\"{authored}\"{after}");
    let mut prepared = String::new();
    until("it is sold alone", WAIT, || {
        prepared = ask(&mut host, &format!("TXN|PREPARE {sale}"));
        prepared.contains("\"nonce\"")
    })
    .await;
    let commit = format!("TXN|COMMIT {{\"nonce\":\"{}\"}}", nonce(&prepared));
    let sealed = ask(&mut host, &commit);
    assert!(sealed.contains("\"status\":\"OK\"") && sealed.contains("&cr="), "{sealed}");
    assert!(ask(&mut host, "QRY|STATUS").contains("\"offline_numbers_left\":99"));
    let number = support::number(&Value::parse(&sealed).unwrap(), "invoice_seq");

    signal("CONT", node);
    until("it is delivered", WAIT, || {
        let entry = ask(&mut host, &format!("QRY|LOG {number}"));
        entry.contains("\"record_type\":\"offline_sale\"") && !entry.contains("\"position\":null")
    })
    .await;
    assert_eq!(ask(&mut host, &commit), sealed, "the same seal");
    demo.stop();
}

#[test]
fn a_configuration_is_checked_before_anything_is_started() {
    let dir = fresh("device-proxy-config");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("device-proxy.toml");
    let good = "admin_listen = \"127.0.0.1:0\"\nverify_host = \"verify.example.cd\"\n\
                [cluster]\nnodes = [\"127.0.0.1:1\"]\n\
                [[devices]]\ndevice_id = \"def-1\"\nlisten = \"127.0.0.1:0\"\n";
    let run = |text: &str, arguments: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let mut command: Command = fiscus();
        let output = command.args(["device-proxy", "--config"]).arg(&file).args(arguments);
        let output = output.output().unwrap();
        let (out, err) = (output.stdout, output.stderr);
        (output.status.code(), String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let (exit, printed, _) = run(good, &["--serve", "--print-config"]);
    assert_eq!(exit, Some(0));
    assert!(printed.contains("nonces_max = 8"), "{printed}");
    let (exit, _, said) = run(good, &[]);
    assert!(exit == Some(2) && said.contains("--serve"), "{said}");
    let (exit, _, said) = run(&good.replace("def-1", ""), &["--serve"]);
    assert!(exit == Some(2) && said.contains("devices.device_id"), "{said}");
    for unknown in ["colour = 1", "dgi_public_key = \"AAAA\""] {
        let (exit, _, said) = run(&format!("{unknown}\n{good}"), &["--serve"]);
        let name = unknown.split(' ').next().unwrap();
        assert!(exit == Some(2) && said.contains(name), "{said}");
    }
}
