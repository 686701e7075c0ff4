//! A group's log is read as standard clients read it: a checkpoint, then the tiles of its size, from any gateway.

use crate::support::{LIMIT, Setup, World, sale};
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::hash::{Hash32, from_hex};
use fiscus_ledger::tree::{CompactRange, leaf_hash, node_hash};

/// Enough for a whole tile and a part of the next one.
const INVOICES: u32 = 270;

async fn fill(world: &World) {
    for from in (0..INVOICES).step_by(30) {
        let calls = (from..from + 30).map(|number| {
            let call = world.post("/api/v1/invoices").by("owner");
            let sale = sale("outlet-gombe", number % 97 + 1);
            call.idempotent(&format!("sale-{number}")).json(&sale).send()
        });
        for answer in futures_util::future::join_all(calls).await {
            answer.expect(201);
        }
    }
}

/// The last checkpoint, when it covers a leaf.
async fn covering(world: &World, leaf: u64) -> Checkpoint {
    let until = std::time::Instant::now() + LIMIT;
    loop {
        let answer = world.get("/log/1/checkpoint").send().await;
        // On a busy machine none may be signed yet over what was sold last.
        if answer.status == 503 {
            assert_eq!(answer.code(), "CHECKPOINT_PENDING");
            assert!(std::time::Instant::now() < until, "nothing is signed within {LIMIT:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        }
        let answer = answer.expect(200);
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("cache-control"), "public, max-age=1");
        let note = answer.text();
        let end = note.rfind("\n\n").expect("a note has a blank line");
        let checkpoint = Checkpoint::parse(&note[..=end]).expect("a checkpoint");
        assert_eq!(checkpoint.origin(), "harness/g/1");
        if checkpoint.size() > leaf {
            return checkpoint;
        }
        assert!(std::time::Instant::now() < until, "leaf {leaf} is not covered within {LIMIT:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Paths of the tiles over `count` nodes, the last one for what there is of it.
fn tiles(kind: &str, count: u64) -> Vec<String> {
    let whole = (0..count / 256).map(|index| format!("/log/1/tile/{kind}/{index:03}"));
    let rest = count % 256;
    let part = (rest > 0).then(|| format!("/log/1/tile/{kind}/{:03}.p/{rest}", count / 256));
    whole.chain(part).collect()
}

async fn read(world: &World, paths: &[String], each: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let answer = world.call_at(at % 2, "GET", path).send().await.expect(200);
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(answer.body.len() % each, 0);
        all.extend(answer.body.chunks(each).map(<[u8]>::to_vec));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tiles_of_a_checkpoint_make_its_root() {
    let world = World::start_with(Setup { nodes: 3, gateways: 2, ..Setup::default() }).await;
    fill(&world).await;
    let last = world.get("/api/v1/invoices/KIN-GOMBE-270").by("auditor").send().await.expect(200);
    let last = last.json();
    let leaf = last["leaf_index"].as_u64().expect("a leaf");
    let checkpoint = covering(&world, leaf).await;
    let size = checkpoint.size();

    let entries = read(&world, &tiles("entries", size), 34).await;
    let leaves: Vec<Hash32> = entries
        .iter()
        .map(|entry| {
            assert_eq!(entry[..2], [0, 32]);
            entry[2..].try_into().expect("32 bytes")
        })
        .collect();
    let entry_hash = last["entry_hash"].as_str().and_then(from_hex::<32>).expect("a hash");
    assert_eq!(leaves[usize::try_from(leaf).expect("few")], entry_hash);
    let mut tree = CompactRange::new();
    for leaf in &leaves {
        tree.push(leaf);
    }
    assert_eq!((tree.size(), tree.root()), (size, *checkpoint.root()));

    let hashes = read(&world, &tiles("0", size), 32).await;
    assert!(hashes.iter().zip(&leaves).all(|(hash, leaf)| *hash == leaf_hash(leaf)));
    assert_eq!(hashes.len() as u64, size);
    let mut folded: Vec<Hash32> = leaves[..256].iter().map(leaf_hash).collect();
    while folded.len() > 1 {
        folded = folded.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    let above = read(&world, &tiles("1", size / 256), 32).await;
    assert_eq!(above, [folded[0].to_vec()]);

    for path in [
        format!("tile/0/001.p/{}", size % 256 + 40),
        "tile/0/001".to_owned(),
        "tile/2/000.p/1".to_owned(),
        "tile/entries/x001/000".to_owned(),
        "tile/0/x001/x000/000.p/7".to_owned(),
        "tile/0/1".to_owned(),
    ] {
        let answer = world.get(&format!("/log/1/{path}")).send().await.expect(404);
        assert_eq!(answer.code(), "TILE_UNKNOWN", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    for path in ["/log/9/checkpoint", "/log/9/tile/0/000"] {
        assert_eq!(world.get(path).send().await.expect(404).code(), "GROUP_UNKNOWN", "{path}");
    }
    let directory = world.get("/log/0/checkpoint").send().await.expect(200).text();
    assert!(directory.starts_with("harness/g/0\n"), "{directory}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_a_log_is_counted() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.rates.log_per_minute = 3;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    for _ in 0..3 {
        world.get("/log/1/tile/0/009").send().await.expect(404);
    }
    let answer = world.get("/log/1/tile/0/009").send().await.expect(429);
    assert_eq!(answer.code(), "RATE_LIMITED");
    assert_ne!(answer.header("retry-after"), "");
}
