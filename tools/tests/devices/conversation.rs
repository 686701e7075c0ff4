//! Every command and every code before a real device, as a terminal says it and hears it: the device a process of its
//! own on a pseudo-terminal, the proxy another one.

use ed25519_dalek::{Signer, SigningKey};
use fiscus_device_proxy::protocol::frame::framed;
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::time::UnixMs;
use tokio::net::TcpStream;

use super::host::{Host, code, until};
use super::shop::{DefProcess, RealDevice, config, noon, sale};
use super::support::{Demo, admin, fresh};

const ID: &str = "DEF-GOMBE-1";
const OUTLET: &str = "outlet-gombe";

fn dgi() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn signed(message: &str) -> String {
    encode_standard(&dgi().sign(message.as_bytes()).to_bytes())
}

fn text(mark: &str) -> String {
    sale(OUTLET, mark, noon()).text
}

fn time(timestamp: &str) -> String {
    let moment = UnixMs::parse_canonical(timestamp).unwrap();
    let signature = signed(&format!("CFG|TIME|{ID}|{moment}"));
    format!("CFG|TIME {{\"timestamp\":\"{timestamp}\",\"signature\":\"{signature}\"}}")
}

async fn sales_and_questions(host: &mut Host<TcpStream>) {
    host.title("A sale: the device seals, and its journal was read back");
    host.ask("QRY|STATUS").await;
    let nonce = host.prepare(&text("1")).await;
    let sealed = host.commit(&nonce).await;
    assert_eq!(host.commit(&nonce).await, sealed, "the same bytes");
    host.ask(&format!("TXN|PREPARE {}", text("1"))).await;
    host.ask("QRY|LOG 1").await;
    host.ask("QRY|LOG 2").await;

    host.title("Its reports, and its journal");
    host.ask("RPT|X {\"period\":\"day\"}").await;
    host.ask("RPT|A {\"since\":\"2001-01-01\",\"until\":\"9999-01-01\"}").await;
    host.ask("RPT|Z {\"date\":\"2026-11-21\"}").await;
    host.ask("ADM|DUMPLOG {\"format\":\"json\"}").await;
    host.ask("ADM|DUMPLOG {\"format\":\"digest\"}").await;
    host.ask("ADM|ACK 0").await;

    host.title("The tax authority's commands, which are the device's own business");
    host.ask(&time("2001-01-01T00:00:00.000Z")).await;
    host.ask(&time("9000-01-01T00:00:00.000Z")).await;
    let token = encode_standard(&[0; 64]);
    host.ask(&format!("ADM|RESET {{\"dgi_authorization\":\"{token}\"}}")).await;
    let token = signed(&format!("ADM|RESET|{ID}|2"));
    host.ask(&format!("ADM|RESET {{\"dgi_authorization\":\"{token}\"}}")).await;
}

async fn what_is_refused(host: &mut Host<TcpStream>, shop: &mut RealDevice) {
    host.title("What is refused, and by whom");
    host.ask("TXN|VOID {}").await;
    host.ask(&format!("TXN|PREPARE {}", text("2").replace(OUTLET, "outlet-goma"))).await;
    let wrong = text("2").replace("\"quantity\":\"1\"", "\"quantity\":\"1.0\"");
    host.ask(&format!("TXN|PREPARE {wrong}")).await;
    host.ask(&format!("TXN|COMMIT {{\"nonce\":\"{}\"}}", "0".repeat(48))).await;
    host.send(b"\x02QRY|LOG 9*00000000\x03").await;
    let answer = host.answer().await;
    host.note("QRY|LOG 9*00000000", &answer);
    host.send(&framed("QRY|LOG 9", true)).await;
    let answer = host.answer().await;
    host.note("QRY|LOG 9*…", &answer);

    host.title("A device whose memory is full");
    shop.def.control("memory 1");
    host.ask(&format!("TXN|PREPARE {}", text("3"))).await;
    shop.def.control("memory 67108864");

    host.title("A busy device");
    shop.def.control("busy 400");
    host.ask(&format!("TXN|PREPARE {}", text("3"))).await;
    until(host, "QRY|STATUS", |answer| code(answer) == "OK").await;
}

async fn what_is_lost(host: &mut Host<TcpStream>, shop: &mut RealDevice) {
    for cut in ["before", "torn", "after"] {
        host.title(match cut {
            "before" => "The power goes before the invoice is stored",
            "torn" => "The power goes when half of it is stored",
            _ => "The power goes after it was stored",
        });
        let nonce = host.prepare(&text(cut)).await;
        shop.def.control(&format!("cut-commit {cut} 100"));
        host.commit(&nonce).await;
        until(host, "QRY|STATUS", |answer| code(answer) == "OK").await;
        host.commit(&nonce).await;
    }

    host.title("The cable is out, and in again");
    let nonce = host.prepare(&text("4")).await;
    shop.def.control("unplug");
    let told = until(host, "QRY|STATUS", |answer| code(answer) == "UNAVAILABLE").await;
    host.note("QRY|STATUS", &told);
    host.commit(&nonce).await;
    shop.def.control("plug");
    until(host, "QRY|STATUS", |answer| code(answer) == "OK").await;
    host.commit(&nonce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_before_a_real_device() {
    let demo = Demo::start_with(&fresh("device-conversation"), &["--nodes", "1"]);
    let key = encode_standard(dgi().verifying_key().as_bytes());
    let def = DefProcess::start(&demo.dir, ID, &["--dgi-public-key", &key]);
    let config = config(&demo.dir, &demo.nodes, ID);
    let mut shop = RealDevice::open(&demo.dir, ID, OUTLET, def, config).await;
    let mut host = shop.proxy.host().await;
    sales_and_questions(&mut host).await;
    what_is_refused(&mut host, &mut shop).await;
    what_is_lost(&mut host, &mut shop).await;

    host.title("The ledger seals for the outlet again");
    let (done, said) = admin(&demo.dir, &format!("outlets signing-mode {OUTLET} cluster --yes"));
    assert!(done, "{said}");
    let refused = format!("TXN|PREPARE {}", text("5"));
    let told = until(&mut host, &refused, |answer| code(answer) == "UNAUTHORIZED").await;
    host.note(&refused, &told);

    host.title("The device is revoked");
    let (done, said) = admin(&demo.dir, &format!("devices revoke {ID} --yes"));
    assert!(done, "{said}");
    let told = until(&mut host, "QRY|STATUS", |answer| code(answer) == "DEVICE_REVOKED").await;
    host.note("QRY|STATUS", &told);
    host.matches("before_a_real_device");
    drop(shop);
    demo.stop();
}
