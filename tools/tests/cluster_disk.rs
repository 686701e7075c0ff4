//! A disk that fills up: the node gives everything away and takes nothing while it still has room to
//! follow, goes on to answer what it is asked, says so, and leads again when there is room.
//!
//! The disk is a small file system in memory that only the node's processes see.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fiscus_proto::ledger::ledger_client::LedgerClient;
use fiscus_proto::ledger::{Consistency, ReadGroupRequest};
use support::load::Load;
use support::processes::Processes;
use support::{Demo, admin, alerts, client, fresh, history, leader, node_number, until};

/// The node whose disk fills up.
const SMALL: u64 = 3;
const GROUPS: [u64; 2] = [0, 1];
const DISK_BYTES: u64 = 320 << 20;
/// The reserve of a demonstration's nodes is 64 MiB; this is less, and enough to follow for long.
const LEFT_BYTES: u64 = 40 << 20;
/// A change of the disk shows in everything within this time.
const NOTICED: Duration = Duration::from_secs(60);

/// A file system in memory, in a name space of mounts that lives as long as its holder.
struct SmallDisk {
    holder: Child,
    /// How this process reaches what is in it.
    seen_from_here: PathBuf,
}

impl SmallDisk {
    /// Puts it in the place of a directory, with everything that the directory holds.
    fn over(dir: &Path) -> Self {
        let moved = dir.with_extension("moved");
        std::fs::rename(dir, &moved).unwrap();
        std::fs::create_dir(dir).unwrap();
        let script = "mount -t tmpfs -o size=$1 tmpfs \"$2\" && cp -a \"$3/.\" \"$2\" && echo ok && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(DISK_BYTES.to_string())
            .args([dir, &moved])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ok\n", "a name space of mounts is needed, and a tmpfs in it");
        let seen_from_here = PathBuf::from(format!("/proc/{}/root{}", holder.id(), dir.display()));
        Self { holder, seen_from_here }
    }

    /// A command in the name space, which ends where the program's arguments begin.
    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.id().to_string();
        command.args(["--target", &holder, "--user", "--mount", "--preserve-credentials"]);
        command.arg(env!("CARGO_BIN_EXE_fiscus"));
        command
    }

    fn free_bytes(&self) -> u64 {
        let mut stat = Command::new("stat");
        let out = stat.args(["-f", "-c", "%a %S"]).arg(&self.seen_from_here).output().unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        let (blocks, size) = out.trim().split_once(' ').unwrap();
        blocks.parse::<u64>().unwrap() * size.parse::<u64>().unwrap()
    }

    /// Something else takes the room, up to what is left.
    fn fill(&self, left: u64) {
        let mut ballast = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.seen_from_here.join("ballast"))
            .unwrap();
        let bytes = self.free_bytes().saturating_sub(left);
        match std::io::copy(&mut std::io::repeat(0).take(bytes), &mut ballast) {
            Ok(_) => ballast.flush().unwrap(),
            // The node took the rest meanwhile.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::StorageFull),
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.seen_from_here.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The end of its standard input ends the holder, and with it the file system.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn says_it_is_full(dir: &Path) -> bool {
    let alert = format!("node {SMALL}: its disk is nearly full; nothing is accepted");
    alerts(dir).contains(&alert)
}

async fn leads_nothing(dir: &Path) {
    let led = || GROUPS.iter().all(|group| leader(dir, *group).is_some_and(|id| id != SMALL));
    until("the node leads nothing", NOTICED, led).await;
}

async fn lead_everything(dir: &Path) {
    for group in GROUPS {
        let transfer = format!("groups transfer {group} --to {SMALL} --yes");
        until("the node leads", NOTICED, || admin(dir, &transfer).0).await;
    }
}

/// Asks the node itself, and nobody else; how many leaves it has.
async fn leaves(nodes: &Processes, consistency: Consistency) -> Result<u64, tonic::Status> {
    let mut node = LedgerClient::new(nodes.channel(SMALL, "gateway").await);
    let request = ReadGroupRequest { group: 1, consistency: consistency.into() };
    let answer = node.read_group(request).await?.into_inner();
    Ok(answer.as_of.unwrap().leaves)
}

/// While there is less room than the reserve.
async fn stands_aside(nodes: &Processes, disk: &SmallDisk, load: &Load, when: &str) {
    let (dir, began) = (&nodes.dir, Instant::now());
    until("the status says so", NOTICED, || says_it_is_full(dir)).await;
    leads_nothing(dir).await;
    println!("{when}: stood aside after {:?}, {} bytes free", began.elapsed(), disk.free_bytes());
    assert!(disk.free_bytes() > LEFT_BYTES / 2, "{when}: it stopped too late");
    let before = leaves(nodes, Consistency::Local).await.unwrap();
    load.wait_for(60).await;
    let fresh = leaves(nodes, Consistency::Linearizable).await.unwrap();
    assert!(fresh >= before + 60, "{when}: it follows, and answers with what is new");
    leads_nothing(dir).await;
    let refused = admin(dir, &format!("groups transfer 1 --to {SMALL} --yes"));
    leads_nothing(dir).await;
    assert!(says_it_is_full(dir), "{when}: {refused:?}");
}

/// With room again, it takes part as before.
async fn is_well(nodes: &Processes, load: &Load) {
    let dir = &nodes.dir;
    let own = format!("node {SMALL}");
    let quiet = || !alerts(dir).iter().any(|alert| alert.starts_with(&own));
    until("nothing is wrong with it", NOTICED, quiet).await;
    lead_everything(dir).await;
    load.wait_for(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_one_node_and_nothing_else() {
    let mut nodes = Processes::of(Demo::start(&fresh("cluster-disk")));
    let dir = nodes.dir.clone();
    let disk = SmallDisk::over(&dir.join(format!("n{SMALL}/data")));
    for id in nodes.ids().into_iter().filter(|id| *id != SMALL) {
        nodes.start(id);
    }
    nodes.start_as(SMALL, disk.inside());
    nodes.listening().await;
    let client = client(&dir, &nodes.nodes).await;
    let load = Load::start(&client, 2, "disk");
    lead_everything(&dir).await;
    load.wait_for(60).await;

    disk.fill(LEFT_BYTES);
    stands_aside(&nodes, &disk, &load, "while it runs").await;
    nodes.stop(SMALL).await;
    nodes.start_as(SMALL, disk.inside());
    nodes.listening().await;
    stands_aside(&nodes, &disk, &load, "started so").await;
    disk.empty();
    is_well(&nodes, &load).await;

    // Whatever fills the disk does not stop at the reserve.
    disk.fill(0);
    until("nothing is left", NOTICED, || says_it_is_full(&dir)).await;
    leads_nothing(&dir).await;
    load.wait_for(200).await;
    println!("to the brim: {} bytes free, {:?}", disk.free_bytes(), alerts(&dir));
    assert!(node_number(&dir, SMALL, "disk_free_bytes") < LEFT_BYTES);
    disk.empty();
    is_well(&nodes, &load).await;

    let sales = load.finish().await;
    println!("{} sales", sales.len());
    history::check(&client, &sales).await;
    nodes.stop_all().await;
}
