//! One PostgreSQL server on loopback, and clients that take a number and write the journal record in one statement.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tokio_postgres::{NoTls, Statement};

use crate::load::Client;
use crate::machine::{free_ports, stop};

const READY_WAIT: Duration = Duration::from_secs(30);
/// Room for the most clients that are tried.
pub(crate) const CLIENTS_MAX: usize = 200;
const OUTLETS: i32 = 1_000;
/// Half of each page stays free, so that a counter's new version stands beside its old one.
const TABLES: &str = "
    CREATE TABLE counters (outlet int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE journal (outlet int, n bigint, record bytea NOT NULL, PRIMARY KEY (outlet, n));
    INSERT INTO counters SELECT outlet, 0 FROM generate_series(0, 999) AS outlet;";
const SEAL: &str = "
    WITH next AS (UPDATE counters SET n = n + 1 WHERE outlet = $1 RETURNING outlet, n)
    INSERT INTO journal SELECT outlet, n, $2 FROM next RETURNING n";

pub(crate) struct Postgres {
    server: Child,
    port: u16,
}

impl Postgres {
    pub(crate) async fn start(programs: &Path, dir: &Path) -> Result<Self> {
        let owner = owner()?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        let data = dir.join("data");
        std::fs::create_dir(&data)?;
        std::os::unix::fs::chown(&data, Some(owner.0), Some(owner.1))?;
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.uid(owner.0).gid(owner.1).current_dir("/").stdout(Stdio::null());
            command
        };
        let made = command("initdb")
            .args(["--auth", "trust", "--username", "fiscus", "--pgdata"])
            .arg(&data)
            .status()
            .context("initdb")?;
        ensure!(made.success(), "initdb: {made}");
        let port = free_ports(1)?[0];
        let log = std::fs::File::create(dir.join("log"))?;
        let settings = [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", data.display()),
            format!("max_connections={}", CLIENTS_MAX + 10),
            "fsync=on".to_owned(),
            "synchronous_commit=on".to_owned(),
            "shared_buffers=512MB".to_owned(),
            "max_wal_size=8GB".to_owned(),
        ];
        let mut server = command("postgres");
        server.arg("-D").arg(&data).stderr(log);
        for setting in settings {
            server.args(["-c", &setting]);
        }
        let postgres = Self { server: server.spawn().context("postgres")?, port };
        let until = Instant::now() + READY_WAIT;
        loop {
            match postgres.connect().await {
                Ok(client) => {
                    client.batch_execute(TABLES).await?;
                    return Ok(postgres);
                }
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn connect(&self) -> Result<tokio_postgres::Client> {
        let wanted = format!("host=127.0.0.1 port={} user=fiscus dbname=postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&wanted, NoTls).await?;
        // It ends with its client.
        tokio::spawn(connection);
        Ok(client)
    }

    pub(crate) async fn sealers(
        &self,
        count: usize,
        record: &Bytes,
        outlets: i32,
    ) -> Result<Vec<Sealer>> {
        ensure!(count <= CLIENTS_MAX && outlets <= OUTLETS, "too many");
        let mut sealers = Vec::new();
        for _ in 0..count {
            let client = self.connect().await?;
            let statement = client.prepare(SEAL).await?;
            sealers.push(Sealer { client, statement, record: record.to_vec(), outlets });
        }
        Ok(sealers)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        stop(&mut self.server);
    }
}

/// Whose server it is: PostgreSQL does not run as root.
fn owner() -> Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    for line in users.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let ["postgres", _, uid, gid, ..] = fields[..] {
            return Ok((uid.parse()?, gid.parse()?));
        }
    }
    bail!("there is no user postgres: install Debian's postgresql")
}

/// Where Debian keeps the programs of the newest version.
pub(crate) fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("/usr/lib/postgresql")?;
    let newest =
        versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()).max();
    let newest = newest.context("no PostgreSQL is installed")?;
    Ok(Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin"))
}

/// Takes the next number of an outlet and writes the record.
pub(crate) struct Sealer {
    client: tokio_postgres::Client,
    statement: Statement,
    record: Vec<u8>,
    outlets: i32,
}

impl Client for Sealer {
    async fn act(&mut self, turn: u64) -> Result<()> {
        let outlet = i32::try_from(turn % u64::try_from(self.outlets)?)?;
        let row = self.client.query_one(&self.statement, &[&outlet, &self.record]).await?;
        ensure!(row.get::<_, i64>(0) > 0, "a number");
        Ok(())
    }
}
