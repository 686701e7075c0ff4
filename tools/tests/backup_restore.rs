//! Backup and restore, with real processes: what was sealed comes back as it was, and what a backup has
//! forgotten is never given away again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::json::Value;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer, ClientConfig, ClusterClient, SubmitError};
use fiscus_proto::command::{self as proto, command};
use fiscus_proto::ledger::{Consistency, JournalRecord, ReadOutletRequest, ReadRecordsRequest};
use fiscus_proto::tls::TlsFiles;
use futures_util::StreamExt;

const SALE: &str = include_str!("../../docs/samples/sale.json");
const OUTLETS: [(&str, &str, &str); 4] = [
    ("outlet-gombe", "GOMBE", "A1234567B"),
    ("outlet-limete", "LIMETE", "A1234567B"),
    ("outlet-matete", "MATETE", "B7654321C"),
    ("outlet-ngaliema", "NGALIEMA", "B7654321C"),
];
const WAIT: Duration = Duration::from_secs(60);
const TEST_WAIT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(100);

/// Child processes that end with the test.
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The exit code and standard output.
    fn fiscus(&self, arguments: &str) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_fiscus"))
            .args(arguments.split(' '))
            .current_dir(self.dir.path())
            .output()
            .expect("fiscus runs");
        eprintln!("{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        let out = String::from_utf8(output.stdout).expect("it prints text");
        (output.status.code().expect("it ends by itself"), out)
    }

    fn succeeds(&self, arguments: &str) -> String {
        let (exit, out) = self.fiscus(arguments);
        assert_eq!(exit, 0, "{arguments}: {out}");
        out
    }

    /// Starts a demonstration; says how its nodes are reached, as `--nodes` wants it.
    fn demo(&self) -> (Processes, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fiscus"))
            .args(["demo", "--no-uploads", "--dir", "demo", "--json"])
            .current_dir(self.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("fiscus runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is a pipe");
        BufReader::new(out).read_line(&mut line).expect("it prints when it is ready");
        let parsed = Value::parse(line.trim()).expect("a line of JSON");
        let Some(Value::Array(nodes)) = parsed.member("nodes") else { panic!("{line}") };
        let nodes = (1..).zip(nodes).map(|(id, node)| match node.member("rpc") {
            Some(Value::String(rpc)) => format!("{id}={rpc}"),
            _ => panic!("{line}"),
        });
        (Processes(vec![child]), nodes.collect::<Vec<_>>().join(","))
    }

    /// Stops everything and destroys what the nodes had.
    fn destroy(&self, mut demo: Processes) {
        let child = &mut demo.0[0];
        let stopped = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
        assert!(stopped.success());
        child.wait().expect("it ends");
        for id in 1..=3 {
            fs::remove_dir_all(self.path(&format!("demo/n{id}/data"))).expect("it was there");
        }
    }

    /// Restores the backup as another cluster and starts its nodes.
    fn restore(&self, nodes: &str) -> Processes {
        self.succeeds(
            "admin keys renew-log demo/keys --passphrase-file demo/passphrase --out demo/keys-2",
        );
        let restore = format!("admin restore --from backup --cluster demo-2 --nodes {nodes}");
        let restore = format!("{restore} --out restored --json");
        let (exit, out) = self.fiscus(&restore);
        assert!(exit == 2 && out.contains("NOT_CONFIRMED"), "{exit}: {out}");
        assert!(!self.path("restored").exists(), "nobody agreed");
        let made = self.succeeds(&format!("{restore} --yes"));
        assert!(made.contains(r#""held":4"#), "{made}");
        let start = |id: u64| {
            let data = self.path(&format!("demo/n{id}/data"));
            fs::rename(self.path(&format!("restored/n{id}")), &data).expect("it was made");
            let file = self.path(&format!("demo/n{id}/node.toml"));
            let config = fs::read_to_string(&file).expect("it was made");
            let config = config
                .replace("cluster = \"demo.fiscus.example\"", "cluster = \"demo-2\"")
                .replace("/demo/keys\"", "/demo/keys-2\"");
            fs::write(&file, config).expect("it is written");
            let log = fs::File::create(self.path(&format!("n{id}.log"))).expect("it is made");
            Command::new(env!("CARGO_BIN_EXE_fiscus"))
                .args(["node", "--stop-with-stdin", "--config"])
                .arg(&file)
                .stdin(Stdio::piped())
                .stderr(log)
                .spawn()
                .expect("fiscus runs")
        };
        Processes((1..=3).map(start).collect())
    }

    async fn client(&self, nodes: &str) -> ClusterClient {
        let pki = self.path("demo/pki");
        let tls = TlsFiles {
            ca: pki.join("ca.pem"),
            cert: pki.join("gateway.pem"),
            key: pki.join("gateway.key"),
        };
        let seeds =
            nodes.split(',').filter_map(|pair| pair.split_once('=')).map(|(_, at)| at.into());
        let config = ClientConfig::new(seeds.collect(), Some(tls.load().expect("certificates")));
        loop {
            // Bounded by the whole test's time: nodes take a moment to listen.
            match ClusterClient::connect(config.clone()).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Seals a sale under a key of its own.
async fn seal(client: &ClusterClient, outlet: usize, key: &str) -> Answer {
    let (id, code, nif) = OUTLETS[outlet];
    let text = SALE
        .replace("outlet-gombe", id)
        .replace("KIN-GOMBE", &format!("KIN-{code}"))
        .replace("A1234567B", nif);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = UnixMs::new(u64::try_from(now).expect("before the end of time"));
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), now).expect("the sample");
    let hash = blake3::hash(format!("{id}/{key}").as_bytes());
    let seal = proto::Seal {
        submitted: Some(proto::Submitted {
            outlet_id: id.to_owned(),
            key: hash.as_bytes()[..16].to_vec().into(),
            fingerprint: parsed.fingerprint.to_vec().into(),
        }),
        terminal_id: "till-1".to_owned(),
        device_id: None,
        payload: parsed.invoice.canonical_bytes().to_vec().into(),
    };
    let seal = proto::Command { command: Some(command::Command::Seal(seal)) };
    loop {
        match client.submit(1, seal.clone(), WAIT).await {
            Ok(answer) => return answer,
            // The key makes it safe to send it again.
            Err(error @ SubmitError::Malformed { .. }) => panic!("{id} {key}: {error}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn sold(client: &ClusterClient, outlet: usize, key: &str) -> JournalRecord {
    match seal(client, outlet, key).await {
        Answer::Recorded(record) | Answer::AlreadyRecorded(record) => record,
        answer => panic!("{key}: {answer:?}"),
    }
}

fn number(sealed: &JournalRecord) -> String {
    Record::decode(&sealed.record).expect("a record").fiscal_number.to_owned()
}

async fn journal(client: &ClusterClient, outlet: &str) -> Vec<JournalRecord> {
    let request = ReadRecordsRequest {
        group: 1,
        outlet_id: outlet.to_owned(),
        from_position: 1,
        to_position: 0,
        consistency: Consistency::Linearizable.into(),
    };
    let records = client.read_records(request, WAIT);
    records.map(|record| record.expect("it is read")).collect().await
}

async fn row(client: &ClusterClient, outlet: &str) -> Outlet {
    let request = ReadOutletRequest {
        group: 1,
        outlet_id: outlet.to_owned(),
        consistency: Consistency::Linearizable.into(),
    };
    let read = client.read_outlet(request, WAIT).await.expect("it is read");
    Outlet::from_stored(&read.row).expect("a row")
}

/// Every record with its signature, and every counter.
async fn everything(client: &ClusterClient) -> BTreeMap<String, (Vec<JournalRecord>, Outlet)> {
    let mut all = BTreeMap::new();
    for (id, ..) in OUTLETS {
        all.insert(id.to_owned(), (journal(client, id).await, row(client, id).await));
    }
    all
}

fn place() -> Place {
    Place { dir: tempfile::tempdir().expect("a directory") }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(TEST_WAIT, test).await.expect("in time") });
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// One byte of any file changed is found, and nothing is made of such a backup.
fn every_file_matters(place: &Place, nodes: &str) {
    let found = files(&place.path("backup"));
    assert!(found.len() >= 11, "{found:?}");
    for path in found {
        let sound = fs::read(&path).expect("it is read");
        let mut damaged = sound.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(&path, &damaged).expect("it is written");
        let (exit, out) = place.fiscus("admin backup verify backup --json");
        assert_eq!(exit, 1, "{}: {out}", path.display());
        assert!(out.contains("BACKUP_INVALID"), "{out}");
        fs::write(&path, sound).expect("it is written");
    }
    let manifest = place.path("backup/BACKUP");
    let sound = fs::read(&manifest).expect("it is read");
    fs::remove_file(&manifest).expect("it was there");
    let restore = format!("admin restore --from backup --cluster demo-2 --nodes {nodes} --json");
    let (exit, out) = place.fiscus(&format!("{restore} --out restored"));
    assert_eq!(exit, 1, "{out}");
    assert!(!place.path("restored").exists());
    fs::write(&manifest, sound).expect("it is written");
    let same_name = restore.replace("demo-2", "demo.fiscus.example");
    assert_eq!(place.fiscus(&format!("{same_name} --out restored")).0, 2);
}

#[test]
fn what_was_sealed_comes_back_as_it_was() {
    run(async {
        let place = place();
        let (demo, nodes) = place.demo();
        let client = place.client(&nodes).await;
        let first = sold(&client, 0, "before").await;
        place.succeeds("admin --dir demo backup --to backup");
        let before = everything(&client).await;
        drop(client);
        place.destroy(demo);
        let checked = place.succeeds("admin backup verify backup --json");
        assert!(checked.contains(r#""outlets":4"#), "{checked}");
        every_file_matters(&place, &nodes);

        let _nodes = place.restore(&nodes);
        let client = place.client(&nodes).await;
        for (id, (records, known)) in &before {
            assert_eq!(journal(&client, id).await, *records, "{id}");
            let restored = row(&client, id).await;
            assert!(restored.held, "{id}");
            assert_eq!(Outlet { held: false, ..restored }, *known, "{id}");
        }
        match seal(&client, 0, "after").await {
            Answer::Refused(refusal) => assert_eq!(refusal.code, "OUTLET_HELD"),
            answer => panic!("{answer:?}"),
        }
        let last = before["outlet-gombe"].1.series.last;
        let release = format!("admin --dir demo outlets release outlet-gombe --last-issued {last}");
        let release = format!("{release} --evidence receipt --operator test --json");
        let (exit, out) = place.fiscus(&release);
        assert!(exit == 2 && out.contains("NOT_CONFIRMED"), "{exit}: {out}");
        assert!(row(&client, "outlet-gombe").await.held, "nobody agreed");
        place.succeeds(&format!("{release} --yes"));
        assert_eq!(sold(&client, 0, "before").await, first, "the same key, the same bytes");
        let next = sold(&client, 0, "after").await;
        assert_eq!(number(&next), format!("KIN-GOMBE-{}", last + 1));
        let (records, _) = &before["outlet-gombe"];
        assert_eq!(journal(&client, "outlet-gombe").await[..records.len()], records[..]);
    });
}

#[test]
fn what_a_backup_has_forgotten_is_never_given_away_again() {
    run(async {
        let place = place();
        let (demo, nodes) = place.demo();
        let client = place.client(&nodes).await;
        let mut acknowledged = BTreeMap::new();
        let mut last = [0; OUTLETS.len()];
        for (at, (id, ..)) in OUTLETS.iter().enumerate() {
            for sealed in journal(&client, id).await {
                acknowledged.insert(number(&sealed), sealed.record.clone());
            }
            last[at] = row(&client, id).await.series.last;
        }
        let known = last;
        place.succeeds("admin --dir demo backup --to backup");
        for sale in 0..12 {
            let at = sale % 3;
            let sealed = sold(&client, at, &format!("forgotten-{sale}")).await;
            acknowledged.insert(number(&sealed), sealed.record.clone());
            last[at] += 1;
        }
        drop(client);
        place.destroy(demo);

        let _nodes = place.restore(&nodes);
        let client = place.client(&nodes).await;
        let mut evidence = "outlet,last_issued,evidence\n".to_owned();
        for ((id, ..), last) in OUTLETS.iter().zip(last) {
            evidence.push_str(&format!("{id},{last},\"the last receipt, seen\"\n"));
        }
        fs::write(place.path("evidence.csv"), &evidence).expect("it is written");
        let release = "admin --dir demo outlets release";
        let low = format!(
            "{release} outlet-gombe --last-issued 1 --evidence e --operator t --yes --json"
        );
        let (exit, out) = place.fiscus(&low);
        assert_eq!(exit, 1, "{out}");
        assert!(out.contains("EVIDENCE_TOO_LOW"), "{out}");
        let many = format!("{release} --file evidence.csv --operator t --yes --json");
        place.succeeds(&many);
        assert!(
            !place.succeeds(&many).contains(r#""released":true"#),
            "a second time changes nothing"
        );

        let mut given = BTreeSet::new();
        for sale in 0..12 {
            let sealed = sold(&client, sale % 4, &format!("after-{sale}")).await;
            let number = number(&sealed);
            assert!(!acknowledged.contains_key(&number), "{number} was given away before");
            assert!(given.insert(number.clone()), "{number} was given away twice");
        }
        for (at, (id, ..)) in OUTLETS.iter().enumerate() {
            let outlet = row(&client, id).await;
            let gaps = outlet.series.recovery_gaps.count();
            assert_eq!(gaps, last[at] - known[at], "{id}");
            assert_eq!(outlet.series.last, last[at] + 3, "{id}");
            let records = journal(&client, id).await;
            let recorded = records.iter().map(|r| Record::decode(&r.record).expect("a record"));
            let gap = recorded.filter(|r| r.kind == RecordKind::RecoveryGap).count();
            assert_eq!(gap, 1, "{id}");
        }
        a_forgotten_outlet_is_held(&place, &client).await;
    });
}

/// An outlet that the backup has never heard of may have sold: registered again, it begins held.
async fn a_forgotten_outlet_is_held(place: &Place, client: &ClusterClient) {
    place.succeeds(
        "admin --dir demo outlets register --id outlet-bandal --merchant-nif A1234567B \
         --prefix KIN --code BANDAL --environment live --group 1 --yes",
    );
    let heard = async {
        let request = || ReadOutletRequest {
            group: 1,
            outlet_id: "outlet-bandal".to_owned(),
            consistency: Consistency::Linearizable.into(),
        };
        loop {
            match client.read_outlet(request(), WAIT).await {
                Ok(read) if !read.row.is_empty() => {
                    return Outlet::from_stored(&read.row).expect("a row");
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    let new = tokio::time::timeout(WAIT, heard).await.expect("the group hears of it");
    assert!(new.held, "it may have sold before the old cluster was lost");
    place.succeeds(
        "admin --dir demo outlets release outlet-bandal --last-issued 7 --evidence receipt \
         --operator test --yes",
    );
    let released = row(client, "outlet-bandal").await;
    assert_eq!((released.held, released.series.last), (false, 7));
}
