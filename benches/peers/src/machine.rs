//! What is asked of the machine: free ports, time on its processors, and what it is.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ed25519_dalek::{Signer, SigningKey};

/// A process has so long to end in order.
const END_WAIT: Duration = Duration::from_secs(20);
const SIGNATURES: u32 = 20_000;
/// What Linux counts a process's time in, a second.
const TICKS: f64 = 100.0;

/// Ports that nobody listens on now.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Result<Vec<TcpListener>, _> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let ports = listeners?.iter().map(|open| open.local_addr().map(|at| at.port())).collect();
    std::io::Result::<Vec<u16>>::from(ports).context("free ports")
}

/// Asks a child to end, and makes it end.
pub(crate) fn stop(child: &mut Child) {
    // It has ended already, or it gets the signal.
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    let until = Instant::now() + END_WAIT;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > until {
            let _ = child.kill();
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Seconds that processes have spent on processors since they began.
pub(crate) fn processor_seconds(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        // The name, in parentheses, may hold spaces; the 14th and 15th fields count from before it.
        let after = stat.rsplit_once(')').context("a process's figures")?.1;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
        ticks += field(11).context("user time")? + field(12).context("system time")?;
    }
    Ok(ticks as f64 / TICKS)
}

/// Bytes that were written so far to the disk that a directory is on; everything that writes there counts.
pub(crate) fn disk_written(dir: &Path) -> Result<u64> {
    let device = std::fs::metadata(dir)?.dev();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    let path = format!("/sys/dev/block/{major}:{minor}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let sectors = stat.split_whitespace().nth(6).context("sectors written")?;
    Ok(sectors.parse::<u64>()? * 512)
}

/// Lengths of the files of states in use below a directory, those whose paths hold `part`.
pub(crate) fn file_bytes(dir: &Path, part: &str) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        // A file may go while it is looked at.
        let Ok(about) = path.metadata() else { continue };
        if about.is_dir() {
            bytes += file_bytes(&path, part)?;
        } else if ["/state-", part].iter().all(|part| path.to_string_lossy().contains(part)) {
            bytes += about.len();
        }
    }
    Ok(bytes)
}

/// Memory that processes hold now.
pub(crate) fn resident_bytes(pids: &[u32]) -> Result<u64> {
    let mut bytes = 0;
    for pid in pids {
        let told = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib =
            line.and_then(|line| line.trim().strip_suffix(" kB")).context("resident memory")?;
        bytes += kib.trim().parse::<u64>()? * 1_024;
    }
    Ok(bytes)
}

/// What one Ed25519 signature over a hash costs here, in seconds.
pub(crate) fn signature_seconds() -> f64 {
    let key = SigningKey::from_bytes(&[7; 32]);
    let began = Instant::now();
    for number in 0..SIGNATURES {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        std::hint::black_box(key.sign(&hash));
    }
    began.elapsed().as_secs_f64() / f64::from(SIGNATURES)
}

/// Room on the disk that a directory is on.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64> {
    let told = Command::new("df").args(["--output=avail", "-B1"]).arg(dir).output()?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    text.lines().nth(1).and_then(|line| line.trim().parse().ok()).context("what df says")
}

/// The machine in one line.
pub(crate) fn facts(dir: &Path) -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown", |(_, model)| model.trim());
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = kib.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let stat = Command::new("stat").args(["-f", "-c", "%T"]).arg(dir).output();
    let files = stat.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    format!(
        "{cpus} x {model}, {} GiB, Linux {}, files on {}",
        kib >> 20,
        kernel.trim(),
        files.unwrap_or_default()
    )
}
