//! Random bytes into a proxy that serves, into one before a real device, and out of the real device's line: each works
//! afterwards as before, and holds no more memory than before.

use std::time::Duration;

use fiscus_device_proxy::config::AttachSection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::host::{Host, code, sequence, until};
use super::lane::Dice;
use super::shop::{DefProcess, ProxyProcess, config, free, noon, register, sale};
use super::support::{Demo, admin, fresh};
use super::wanted;

const BLOCK: usize = 64 << 10;
/// An allocator keeps some of what it once had.
const GROWTH_KIB_MAX: u64 = 24 << 10;
const REAL: (&str, &str) = ("DEF-NOISE", "outlet-gombe");
const SERVED: (&str, &str) = ("def-noise", "outlet-limete");

fn fill(block: &mut [u8], dice: &mut Dice) {
    for piece in block.chunks_mut(8) {
        piece.copy_from_slice(&dice.below(u64::MAX).to_le_bytes()[..piece.len()]);
    }
}

/// Sends so many bytes, over as many connections as it takes, and throws away what comes back.
async fn make_noise(proxy: &ProxyProcess, bytes: u64, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut block = vec![0; BLOCK];
    let mut left = bytes;
    while left > 0 {
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let listening = tokio::spawn(async move {
            let mut thrown = vec![0; BLOCK];
            while reader.read(&mut thrown).await.is_ok_and(|read| read > 0) {}
        });
        while left > 0 {
            fill(&mut block, &mut dice);
            if writer.write_all(&block).await.is_err() {
                break;
            }
            left = left.saturating_sub(BLOCK as u64);
        }
        drop(writer);
        listening.await.unwrap();
    }
}

/// Makes noise twice: what the first tenth has made the proxy keep, the whole does not make it exceed.
async fn stays_flat(proxy: &ProxyProcess, what: &str, bytes: u64) {
    make_noise(proxy, bytes / 10, 1).await;
    let before = proxy.resident_kib();
    make_noise(proxy, bytes, 2).await;
    let after = proxy.resident_kib();
    println!("{what}: {bytes} random bytes, {before} KiB before and {after} KiB after");
    assert!(after < before + GROWTH_KIB_MAX, "{what}: from {before} KiB to {after} KiB");
}

async fn sells(proxy: &ProxyProcess, outlet: &str, mark: &str) -> u64 {
    let mut host: Host<TcpStream> = proxy.host().await;
    let nonce = host.prepare(&sale(outlet, mark, noon()).text).await;
    sequence(&host.commit(&nonce).await)
}

/// A device that says anything at all whenever somebody connects to it.
async fn mad_device(listener: TcpListener, bytes: u64) {
    let mut dice = Dice::new(3);
    let mut block = vec![0; BLOCK];
    let mut left = bytes;
    while left > 0 {
        let (mut stream, _) = listener.accept().await.unwrap();
        // It is let go, and met again, as often as the proxy has had enough.
        while left > 0 {
            fill(&mut block, &mut dice);
            if stream.write_all(&block).await.is_err() {
                break;
            }
            left = left.saturating_sub(BLOCK as u64);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_leaves_working_devices_and_flat_memory() {
    let bytes = wanted("FISCUS_NOISE_MB", 10) << 20;
    let demo = Demo::start_with(&fresh("device-noise"), &["--nodes", "1"]);
    let activation_code = register(&demo.dir, SERVED.0, SERVED.1);
    let served = ProxyProcess::start(&demo.dir, &config(&demo.dir, &demo.nodes, SERVED.0));
    served.activate(&activation_code, &[9; 32]).await;
    let first = sells(&served, SERVED.1, "before").await;
    stays_flat(&served, "serving", bytes).await;
    assert_eq!(sells(&served, SERVED.1, "after").await, first + 1);

    // Before a real device whose line is full of noise: terminals are told, and it is gone on with when it is sane.
    let (done, said) = admin(&demo.dir, &format!("outlets signing-mode {} def --yes", REAL.1));
    assert!(done, "{said}");
    let activation_code = register(&demo.dir, REAL.0, REAL.1);
    let at = free();
    let mut real = config(&demo.dir, &demo.nodes, REAL.0);
    real.devices[0].attach =
        Some(AttachSection { serial: None, tcp: Some(at), invoices_dir: None });
    let listener = TcpListener::bind(at).await.unwrap();
    let real = ProxyProcess::start(&demo.dir, &real);
    mad_device(listener, bytes / 10).await;
    let before = real.resident_kib();
    mad_device(TcpListener::bind(at).await.unwrap(), bytes).await;
    let after = real.resident_kib();
    println!("out of the device: {bytes} random bytes, {before} KiB before and {after} KiB after");
    assert!(after < before + GROWTH_KIB_MAX, "from {before} KiB to {after} KiB");
    let mut host = real.host().await;
    until(&mut host, "QRY|STATUS", |answer| code(answer) == "UNAVAILABLE").await;
    let def = DefProcess::start(&demo.dir, REAL.0, &["--listen", &at.to_string()]);
    real.activate(&activation_code, &def.public_key).await;
    assert_eq!(sells(&real, REAL.1, "before").await, 1);
    stays_flat(&real, "attached", bytes).await;
    assert_eq!(sells(&real, REAL.1, "after").await, 2);
    drop((served, real, def));
    tokio::time::timeout(Duration::from_secs(60), async { demo.stop() }).await.unwrap();
}
