//! What the index costs, per backend: load, commits, reads, disk, memory, opening after a close and after a
//! kill.
//!
//! `cargo bench -p fiscus-benches --features sled --bench index -- --rows 1000000 --backend all` prints a
//! markdown table. Each backend works in child processes of its own: one loads and closes, one opens,
//! reads, writes on and is killed, one opens what that left. Keys have 40 bytes, half of them in order
//! (positions), half at random (idempotency keys); values have 60 to 300.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fiscus_raft::disk::RealDisk;
use fiscus_raft::index::{Batch, Durability, Index, IndexError, RedbIndex, RedbOptions};

type Failed = Box<dyn Error>;

const BATCH_ROWS: u64 = 3_000;
const DURABLE_EVERY: Duration = Duration::from_secs(1);
const READ_FOR: Duration = Duration::from_secs(3);
/// How long the process that will be killed writes on before it is.
const WRITE_ON_BATCHES: u64 = 200;

#[derive(Debug, Clone)]
struct Arguments {
    rows: u64,
    backend: String,
    directory: PathBuf,
    cache_mib: usize,
    load_seconds_max: u64,
    rss_mib_max: u64,
    phase: Option<String>,
}

fn main() -> Result<(), Failed> {
    let arguments = parse(std::env::args().skip(1))?;
    match arguments.phase.as_deref() {
        None => report(&arguments),
        Some("load") => load(&arguments),
        Some("work") => work(&arguments),
        Some("open") => open_only(&arguments),
        Some(other) => Err(format!("no phase is called {other}").into()),
    }
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments, Failed> {
    let mut parsed = Arguments {
        rows: 100_000,
        backend: "redb".to_owned(),
        directory: std::env::temp_dir(),
        cache_mib: 128,
        load_seconds_max: 3_600,
        rss_mib_max: 8_192,
        phase: None,
    };
    let mut arguments = arguments;
    while let Some(name) = arguments.next() {
        // Cargo adds this to every bench it runs.
        if name == "--bench" {
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--rows" => parsed.rows = value.parse()?,
            "--backend" => parsed.backend = value,
            "--dir" => parsed.directory = value.into(),
            "--cache-mib" => parsed.cache_mib = value.parse()?,
            "--load-seconds-max" => parsed.load_seconds_max = value.parse()?,
            "--rss-mib-max" => parsed.rss_mib_max = value.parse()?,
            "--phase" => parsed.phase = Some(value),
            other => return Err(format!("no argument is called {other}").into()),
        }
    }
    Ok(parsed)
}

/// Runs the phases of each backend and prints the table.
fn report(arguments: &Arguments) -> Result<(), Failed> {
    let backends: Vec<&str> = match arguments.backend.as_str() {
        "all" => vec!["redb", "redb-slow-repair", "sled"],
        one => vec![one],
    };
    let mut columns: Vec<Vec<(String, String)>> = Vec::new();
    for backend in &backends {
        let directory = arguments.directory.join(format!("index-bench-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let mut one = arguments.clone();
        one.backend = (*backend).to_owned();
        one.directory.clone_from(&directory);
        let measured = ["load", "work", "open"]
            .into_iter()
            .map(|phase| child(&one, phase))
            .collect::<Result<Vec<_>, _>>();
        fs::remove_dir_all(&directory)?;
        columns.push(measured?.concat());
    }
    println!("| {} rows | {} |", arguments.rows, backends.join(" | "));
    println!("|---|{}", "---|".repeat(backends.len()));
    let longest = columns.iter().max_by_key(|column| column.len()).ok_or("no backend")?;
    for (name, _) in longest {
        let cell = |column: &Vec<(String, String)>| {
            column.iter().find(|(n, _)| n == name).map_or("–".to_owned(), |(_, v)| v.clone())
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    Ok(())
}

/// Runs a phase; one that says "ready" is killed.
fn child(arguments: &Arguments, phase: &str) -> Result<Vec<(String, String)>, Failed> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--phase", phase, "--backend", &arguments.backend])
        .args(["--rows", &arguments.rows.to_string(), "--dir"])
        .arg(&arguments.directory)
        .args(["--cache-mib", &arguments.cache_mib.to_string()])
        .args(["--load-seconds-max", &arguments.load_seconds_max.to_string()])
        .args(["--rss-mib-max", &arguments.rss_mib_max.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("the child has no output")?;
    let mut measured = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line == "ready" {
            child.kill()?;
        } else if let Some((name, value)) = line.split_once('=') {
            eprintln!("{} {phase}: {line}", arguments.backend);
            measured.push((name.to_owned(), value.to_owned()));
        }
    }
    let status = child.wait()?;
    if phase != "work" && !status.success() {
        return Err(format!("{} {phase}: {status}", arguments.backend).into());
    }
    Ok(measured)
}

fn open(arguments: &Arguments) -> Result<Box<dyn Index>, IndexError> {
    let path = arguments.directory.join("index");
    let disk = Arc::new(RealDisk::new());
    let cache_bytes = arguments.cache_mib << 20;
    match arguments.backend.as_str() {
        #[cfg(feature = "sled")]
        "sled" => {
            use fiscus_raft::index::{SledIndex, SledOptions};
            let options = SledOptions { cache_bytes: cache_bytes as u64 };
            Ok(Box::new(SledIndex::open(disk, path, options)?))
        }
        backend => {
            let options = RedbOptions { cache_bytes, quick_repair: backend != "redb-slow-repair" };
            Ok(Box::new(RedbIndex::open(disk, path, options)?))
        }
    }
}

fn load(arguments: &Arguments) -> Result<(), Failed> {
    let index = open(arguments)?;
    let started = Instant::now();
    let mut writer = Writer::new(index.as_ref());
    let mut rows = 0;
    while rows < arguments.rows {
        let next = (rows + BATCH_ROWS).min(arguments.rows);
        writer.write(rows..next)?;
        rows = next;
        let too_long = started.elapsed().as_secs() >= arguments.load_seconds_max;
        if too_long || peak_rss_mib()? > arguments.rss_mib_max {
            let why = if too_long { "time" } else { "memory" };
            println!("load given up={rows} rows, {why}");
            break;
        }
    }
    index.flush()?;
    let seconds = started.elapsed().as_secs_f64();
    fs::write(arguments.directory.join("rows"), rows.to_string())?;
    println!("load, rows/s={:.0}", rows as f64 / seconds);
    writer.tell();
    let closing = Instant::now();
    drop(index);
    println!("close, ms={:.0}", closing.elapsed().as_secs_f64() * 1e3);
    println!("disk, MiB={}", disk_bytes(&arguments.directory)? >> 20);
    println!("peak RSS of load, MiB={}", peak_rss_mib()?);
    Ok(())
}

fn work(arguments: &Arguments) -> Result<(), Failed> {
    let rows: u64 = fs::read_to_string(arguments.directory.join("rows"))?.parse()?;
    let opening = Instant::now();
    let index = open(arguments)?;
    index.get(b"one row, so that all that is lazy is done")?;
    println!("open after close, ms={:.1}", opening.elapsed().as_secs_f64() * 1e3);
    let reading = Instant::now();
    let mut gets = 0_u64;
    while reading.elapsed() < READ_FOR {
        for _ in 0..100 {
            gets += 1;
            let row = mixed(gets) % rows;
            let found = index.get(&key(row))?.ok_or_else(|| format!("row {row} is missing"))?;
            assert_eq!(found.len(), value(row).len());
        }
    }
    println!("random gets/s={:.0}", gets as f64 / reading.elapsed().as_secs_f64());
    println!("peak RSS of reads, MiB={}", peak_rss_mib()?);
    let mut writer = Writer::new(index.as_ref());
    for batch in 0..WRITE_ON_BATCHES {
        let first = rows + batch * BATCH_ROWS;
        writer.write(first..first + BATCH_ROWS)?;
    }
    println!("ready");
    // The parent kills us; it never writes.
    std::io::stdin().read_line(&mut String::new())?;
    Err("was not killed".into())
}

fn open_only(arguments: &Arguments) -> Result<(), Failed> {
    let opening = Instant::now();
    match open(arguments) {
        Ok(index) => {
            index.get(b"one row, so that all that is lazy is done")?;
            println!("open after kill, ms={:.1}", opening.elapsed().as_secs_f64() * 1e3);
            println!("peak RSS of that, MiB={}", peak_rss_mib()?);
        }
        Err(IndexError::Unclean { .. }) => println!("open after kill, ms=refused: rebuild"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Writes batches, a durable one each second, and keeps their latencies.
struct Writer<'a> {
    index: &'a dyn Index,
    batch: Batch,
    durable_at: Instant,
    eventual: Vec<Duration>,
    durable: Vec<Duration>,
}

impl<'a> Writer<'a> {
    fn new(index: &'a dyn Index) -> Self {
        let batch = Batch::with_capacity(BATCH_ROWS as usize);
        Self { index, batch, durable_at: Instant::now(), eventual: Vec::new(), durable: Vec::new() }
    }

    fn write(&mut self, rows: std::ops::Range<u64>) -> Result<(), IndexError> {
        self.batch.clear();
        for row in rows {
            self.batch.put(key(row), value(row));
        }
        let started = Instant::now();
        if self.durable_at.elapsed() >= DURABLE_EVERY {
            self.index.write(&self.batch, Durability::Durable)?;
            self.durable.push(started.elapsed());
            self.durable_at = Instant::now();
        } else {
            self.index.write(&self.batch, Durability::Eventual)?;
            self.eventual.push(started.elapsed());
        }
        Ok(())
    }

    fn tell(mut self) {
        self.eventual.sort_unstable();
        self.durable.sort_unstable();
        for (name, latencies) in [("eventual", &self.eventual), ("durable", &self.durable)] {
            let at = |thousandths: usize| {
                let place =
                    (latencies.len() * thousandths / 1000).min(latencies.len().saturating_sub(1));
                latencies.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
            };
            println!(
                "{name} commit p50 / p99 / p99.9 / max, ms={:.1} / {:.1} / {:.1} / {:.1}",
                at(500),
                at(990),
                at(999),
                at(1000)
            );
        }
    }
}

fn key(row: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(40);
    if row.is_multiple_of(2) {
        key.extend_from_slice(b"position/of-a-record-in-a-group/");
        key.extend_from_slice(&row.to_be_bytes());
    } else {
        for part in 0..5 {
            key.extend_from_slice(&mixed(row * 5 + part).to_be_bytes());
        }
    }
    key
}

fn value(row: u64) -> Vec<u8> {
    let mut value = Vec::with_capacity(300);
    let len = 60 + (mixed(row) % 241) as usize;
    while value.len() < len {
        value.extend_from_slice(&mixed(row ^ (value.len() as u64) << 40).to_le_bytes());
    }
    value.truncate(len);
    value
}

/// The same well-mixed number for the same seed (splitmix64).
fn mixed(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn disk_bytes(path: &Path) -> Result<u64, Failed> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { disk_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

fn peak_rss_mib() -> Result<u64, Failed> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    let kib = line.split_whitespace().nth(1).ok_or("VmHWM without a number")?;
    Ok(kib.parse::<u64>()? >> 10)
}
