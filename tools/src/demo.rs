//! `fiscus demo`: a real cluster, its gateway and a device proxy, each a child process, with sample data, in one
//! directory.
//!
//! ```text
//! DIR/admin.toml      how `fiscus admin --dir DIR` reaches it     DIR/pki/     CA and certificates
//! DIR/demo.toml       the ports and the number of nodes           DIR/keys     signing keys
//! DIR/n1, n2, …       a node each: node.toml, log, data           DIR/receipts what was sealed
//! DIR/gateway         the gateway: gateway.toml, log              DIR/api-key  the owner's key to the API
//! DIR/mcf             the tax authority's stand-in: what it holds, its key, log
//! DIR/device-proxy    the device proxy: device-proxy.toml, log, a sale to try it with
//! ```
//!
//! All of them are processes of this program. One that dies is started again, so that trying
//! to break the cluster is part of the tour.

mod children;
mod cluster_files;
mod device;
mod registry;
mod samples;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use fiscus_ledger::hash::hex;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::payload::{Object, array};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::cluster::Connection;
use crate::admin::init::found;
use crate::output::answer;
use children::Children;
use cluster_files::{DEVICE, Layout};
use registry::OUTLETS;
use samples::Sold;

/// Start a cluster, a gateway and a device proxy on this machine, with sample data, and keep them running until interrupted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus demo
  fiscus demo --dir /tmp/kinshasa --port-base 17400
  fiscus demo --dir /tmp/congo --regions kinshasa,lubumbashi,goma

It is ready when it prints. Ctrl-C stops everything; a directory that was given stays, and the cluster
starts from it again with everything that it held, at the same ports and with the same API key.

Exit codes:
  0  stopped as asked
  2  wrong usage, or it cannot be started")]
pub(crate) struct Arguments {
    /// Where to keep it; a temporary directory, removed at the end, when absent.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The first of two ports a node, and of two each for the gateway, the device proxy and the tax authority's
    /// stand-in after them; free ones when absent.
    #[arg(long, value_name = "PORT")]
    port_base: Option<u16>,
    /// How many nodes; a directory that holds a cluster keeps its own number.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// Where the nodes stand, in turn, separated by commas; all in one region when absent. A directory that
    /// holds a cluster keeps its own.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    regions: Vec<String>,
    /// Start no stand-in for the tax authority, and upload nothing; a directory that holds a cluster keeps its own.
    #[arg(long)]
    no_uploads: bool,
    /// Let the device sell while the cluster is away: it is lent 100 numbers at a time, which no other sale uses. A
    /// directory that was made so once stays so.
    #[arg(long)]
    offline: bool,
    /// Start the nodes alone, without a gateway and a device proxy, for measurements of the cluster itself.
    #[arg(long, requires = "json")]
    nodes_only: bool,
    /// Print one line of JSON when it is ready.
    #[arg(long)]
    json: bool,
}

/// Runs the command; prints when everything is ready.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let played = runtime
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(play(arguments)));
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let detail = format!("{error:#}");
            eprintln!("fiscus demo: {detail}");
            if !arguments.json {
                return ExitCode::from(2);
            }
            let line = Object::new()
                .flag("ok", false)
                .text("code", "DEMO_FAILED")
                .text("detail", &detail)
                .finish();
            answer("demo", &(line + "\n"), 2)
        }
    }
}

/// A directory that is removed at the end unless somebody named it.
struct Place {
    dir: PathBuf,
    temporary: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            eprintln!("fiscus demo: {} is left behind: {error}", self.dir.display());
        }
    }
}

async fn play(arguments: &Arguments) -> Result<()> {
    // Asked for before anything is started, so that an early Ctrl-C stops what there is.
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let place = place(arguments.dir.as_deref())?;
    let layout = Layout::open_or_make(
        &place.dir,
        arguments.nodes,
        arguments.port_base,
        &arguments.regions,
        !arguments.no_uploads,
    )?;
    if arguments.offline {
        layout.sell_offline()?;
    }
    let mut children = Children::start(&layout)?;
    let ended = tokio::select! {
        shown = show(&layout, &mut children, arguments) => shown,
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    };
    let ended = match ended {
        Ok(()) if children.are_ready() => tokio::select! {
            failed = children.keep_running() => failed,
            _ = term.recv() => Ok(()),
            _ = int.recv() => Ok(()),
        },
        ended => ended,
    };
    let stopped = children.stop().await;
    ended.and(stopped)
}

/// Waits until the cluster serves, fills it the first time, and says where everything is.
async fn show(layout: &Layout, children: &mut Children, arguments: &Arguments) -> Result<()> {
    eprintln!("starting {} nodes in {}", layout.nodes(), layout.dir().display());
    children.wait_until_nodes_listen().await?;
    let cluster = Connection::of_dir(layout.dir()).open()?;
    let addresses: Vec<String> = layout.rpc_addresses();
    let manifest = Manifest::builtin().to_json();
    found(&cluster, &addresses, layout.data_groups(), &manifest).await?;
    let sold = samples::fill(&cluster, layout).await?;
    device::fill(&cluster.client().await?, layout).await?;
    if !arguments.nodes_only {
        // They hear of everything at once, and so serve all of it from their first moment.
        children.start_gateways(layout)?;
        children.wait_until_the_gateways_are_ready(layout).await?;
    }
    children.set_ready();
    let text = if arguments.json {
        line(layout, children, &sold)
    } else {
        screen(layout, children, &sold)?
    };
    print!("{text}");
    std::io::Write::flush(&mut std::io::stdout()).context("standard output")
}

fn place(wanted: Option<&Path>) -> Result<Place> {
    let (dir, temporary) = match wanted {
        Some(dir) => (dir.to_owned(), false),
        None => {
            let mut random = [0; 6];
            ensure!(SystemRandom::new().fill(&mut random).is_ok(), "there is no randomness");
            (std::env::temp_dir().join(format!("fiscus-demo-{}", hex(&random))), true)
        }
    };
    let named = || dir.display().to_string();
    std::fs::create_dir_all(&dir).with_context(named)?;
    let dir = dir.canonicalize().with_context(named)?;
    Ok(Place { dir, temporary })
}

fn line(layout: &Layout, children: &Children, sold: &Sold) -> String {
    let nodes = children.nodes().map(|(id, pid)| {
        Object::new()
            .count("id", id)
            .count("pid", pid.into())
            .text("rpc", &layout.rpc(id))
            .text("admin", &format!("http://{}", layout.admin(id)))
            .finish()
    });
    let started =
        Object::new().text("dir", &layout.dir().display().to_string()).json("nodes", &array(nodes));
    if children.gateway_pid().is_none() {
        return started.finish() + "\n";
    }
    let device_proxy = Object::new()
        .text("addr", &layout.device_proxy())
        .text("device_id", DEVICE)
        .text("outlet_id", OUTLETS[0].id)
        .text("merchant_nif", OUTLETS[0].merchant_nif)
        .finish();
    let line = started
        .text("gateway", &format!("http://{}", layout.gateway()))
        .text("gateway_admin", &format!("http://{}", layout.gateway_admin()))
        .text("api_key", &sold.api_key)
        .optional("mcf", layout.mcf_url().as_deref())
        .json("device_proxy", &device_proxy)
        .finish();
    line + "\n"
}

fn screen(layout: &Layout, children: &Children, sold: &Sold) -> Result<String> {
    let program = std::env::current_exe().context("where this program is")?;
    let program = quoted(&program);
    let dir = quoted(layout.dir());
    let mut lines = String::new();
    for (id, pid) in children.nodes() {
        let (rpc, admin) = (layout.rpc(id), layout.admin(id));
        lines.push_str(&format!("  node {id}   {rpc:<17}  http://{admin}/metrics   pid {pid}\n"));
    }
    let (first, pid) = children.nodes().next().context("there is a node")?;
    Ok(format!(
        "\
A cluster of {count} nodes, with mutual TLS, {groups} data group and a directory, in {shown}

{lines}  gateway  {url}  http://{gateway_admin}/metrics   pid {gateway_pid}
  API key  {key}   (also in {key_file})
  device   {device_id} at {device}, for points of sale that speak the fiscal-device protocol
{mcf}
{organisations} organisation, {merchants} merchants, {outlets} outlets; {invoices} invoices sealed, their receipts in {dir}/receipts

Try it, in another terminal:
  curl -s {url}/api/v1/invoices -H \"Authorization: Bearer $(cat {key_file})\" \\
    -H 'Idempotency-Key: sale-1' -H 'Content-Type: application/json' -d @{sale}      # seal an invoice
  curl -s '{url}/api/v1/invoices/{number}/receipt?format=html' -H \"Authorization: Bearer $(cat {key_file})\" \\
    -o receipt.html                                          # open its receipt in a browser
  curl -s '{url}/api/v1/verify/{number}?auth_code={auth_code}'   # anybody can verify it, without a key
  {program} admin --dir {dir} status
  kill -9 {pid}; {program} admin --dir {dir} status       # node {first} dies, the others go on, it comes back
  {program} receipt verify \"$(cat {receipt})\" --keys {dir}/fiscal-keys.json

Ctrl-C stops everything.
",
        count = layout.nodes(),
        groups = layout.data_groups(),
        shown = layout.dir().display(),
        url = format_args!("http://{}", layout.gateway()),
        gateway_admin = layout.gateway_admin(),
        gateway_pid = children.gateway_pid().context("it was started")?,
        key = sold.api_key,
        device_id = DEVICE,
        mcf = layout.mcf_url().map_or_else(String::new, |url| format!(
            "  tax authority's stand-in  {url}/admin/held shows what was uploaded\n"
        )),
        device = layout.device_proxy(),
        key_file = quoted(&layout.api_key_path()),
        sale = quoted(&layout.sale_path()),
        number = sold.number,
        auth_code = sold.auth_code,
        organisations = sold.organisations,
        merchants = sold.merchants,
        outlets = sold.outlets,
        invoices = sold.invoices,
        receipt = quoted(&sold.receipt),
    ))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
