//! `fiscus webhook listen`: a receiver for whoever writes one. It checks each message, prints it, hands it on, and
//! answers errors when it is told to.
//!
//! Non-goals: keeping what came. A real receiver remembers the ids that it has seen.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use fiscus_gateway::webhooks::signature::Verifier;
use fiscus_gateway::webhooks::target::{Host, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A message is far smaller, its head as well.
const BODY_BYTES_MAX: usize = 64 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const CONNECTIONS_MAX: usize = 64;
const WAIT: Duration = Duration::from_secs(30);

/// Receive webhooks: check, print, hand on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus webhook listen --secret whsec_…
  fiscus webhook listen --secret whpk_… --forward http://127.0.0.1:3000/in
  fiscus webhook listen --fail 503              answers every message with 503
  fiscus webhook listen --hang                  answers none

Messages go to standard output, one line of JSON each; the address and what is wrong go to standard error. A
message that cannot be believed is printed with \"verified\": false and answered with 400. With --forward, the
answer is that of the other server. Ctrl-C ends it.

Exit codes:
  0  ended as asked
  1  it cannot listen
  2  wrong usage")]
pub(crate) struct Arguments {
    /// The endpoint's secret (whsec_…) or public key (whpk_…); without it nothing is checked.
    #[arg(long)]
    secret: Option<String>,
    /// Where to listen.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Hand each message that is believed on to this URL, with its header, and answer what it answers.
    #[arg(long, value_name = "URL")]
    forward: Option<String>,
    /// Answer each message with this status.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599), conflicts_with = "hang")]
    fail: Option<u16>,
    /// Answer no message.
    #[arg(long)]
    hang: bool,
    /// End after so many messages.
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
}

/// What is done with messages.
#[derive(Debug)]
struct Plan {
    verifier: Option<Verifier>,
    forward: Option<Target>,
    fail: Option<u16>,
    hang: bool,
}

/// What became of a message here.
#[derive(Debug, Clone, Copy)]
enum Told {
    Printed,
    /// Whoever read standard output has gone away.
    NobodyReads,
}

/// A message as it came.
#[derive(Debug)]
struct Message {
    head: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let plan = match plan(arguments) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("fiscus webhook listen: {error:#}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let listened = runtime.context("no runtime").and_then(|runtime| {
        runtime.block_on(listen(arguments.listen, plan, arguments.count.unwrap_or(u64::MAX)))
    });
    match listened {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fiscus webhook listen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let verifier = match &arguments.secret {
        None => None,
        Some(text) => {
            Some(Verifier::parse(text.trim()).context("--secret is neither whsec_… nor whpk_…")?)
        }
    };
    let forward = match &arguments.forward {
        None => None,
        Some(url) => {
            if !url.starts_with("http://") {
                bail!("--forward goes to http:// only: it is for a server on this machine");
            }
            let target = Target::parse(url, true).with_context(|| format!("--forward {url}"))?;
            Some(target)
        }
    };
    Ok(Plan { verifier, forward, fail: arguments.fail, hang: arguments.hang })
}

async fn listen(address: SocketAddr, plan: Plan, count: u64) -> Result<()> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    eprintln!("listening on http://{}/", listener.local_addr()?);
    let plan = std::sync::Arc::new(plan);
    let (done, mut ended) = tokio::sync::mpsc::channel::<Told>(CONNECTIONS_MAX);
    let mut connections = JoinSet::new();
    let mut left = count;
    while left > 0 {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let (stream, _) = accepted?;
                let (plan, done) = (std::sync::Arc::clone(&plan), done.clone());
                connections.spawn(async move {
                    if let Err(error) = serve(stream, &plan, &done).await {
                        eprintln!("a connection: {error:#}");
                    }
                });
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            told = ended.recv() => match told {
                Some(Told::NobodyReads) => return Ok(()),
                _ => left -= 1,
            },
            asked = tokio::signal::ctrl_c() => return asked.context("no signals"),
        }
    }
    Ok(())
}

/// The messages of one connection, one after the other.
async fn serve(
    mut stream: TcpStream,
    plan: &Plan,
    done: &tokio::sync::mpsc::Sender<Told>,
) -> Result<()> {
    let mut rest = Vec::new();
    while let Some(message) = timeout(WAIT, read(&mut stream, &mut rest)).await?? {
        let (status, shown) = answer(plan, &message).await;
        let told = match writeln!(std::io::stdout(), "{shown}") {
            Ok(()) => Told::Printed,
            Err(_closed) => Told::NobodyReads,
        };
        if plan.hang {
            // It has come, though it is not answered.
            let _ = done.send(told).await;
            std::future::pending::<()>().await;
        }
        let text = format!(
            "HTTP/1.1 {status} {}\r\ncontent-length: 0\r\n\r\n",
            if status < 300 { "OK" } else { "Error" }
        );
        stream.write_all(text.as_bytes()).await?;
        // Whoever counts may have counted enough.
        let _ = done.send(told).await;
    }
    Ok(())
}

/// Reads one message; none at the end.
async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    rest: &mut Vec<u8>,
) -> Result<Option<Message>> {
    let end = loop {
        if let Some(at) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if rest.len() > HEAD_BYTES_MAX {
            bail!("the head is too long");
        }
        if stream.read_buf(rest).await? == 0 {
            return if rest.is_empty() { Ok(None) } else { bail!("it broke off") };
        }
    };
    let text = String::from_utf8_lossy(&rest[..end]).into_owned();
    rest.drain(..end + 4);
    let lines = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let head: Vec<(String, String)> = lines
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = field(&head, "content-length").parse().unwrap_or(0);
    if length > BODY_BYTES_MAX {
        bail!("the body is too long");
    }
    while rest.len() < length {
        if stream.read_buf(rest).await? == 0 {
            bail!("the body broke off");
        }
    }
    let body = rest.drain(..length).collect();
    Ok(Some(Message { head, body }))
}

fn field<'h>(head: &'h [(String, String)], name: &str) -> &'h str {
    head.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

/// The status to answer with, and the line that is printed.
async fn answer(plan: &Plan, message: &Message) -> (u16, Value) {
    let id = field(&message.head, "webhook-id");
    let timestamp = field(&message.head, "webhook-timestamp").parse().unwrap_or(0);
    let signatures = field(&message.head, "webhook-signature");
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let checked =
        plan.verifier.as_ref().map(|it| it.check(id, timestamp, signatures, &message.body, now_s));
    let body = serde_json::from_slice::<Value>(&message.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&message.body).into_owned()));
    let mut status = plan.fail.unwrap_or(204);
    let mut shown = json!({"webhook_id": id, "webhook_timestamp": timestamp, "verified": Value::Null, "message": body});
    match checked {
        None => {}
        Some(Ok(())) => shown["verified"] = json!(true),
        Some(Err(error)) => {
            shown["verified"] = json!(false);
            shown["problem"] = json!(error.to_string());
            status = plan.fail.unwrap_or(400);
        }
    }
    if let Some(target) = plan.forward.as_ref().filter(|_| status == 204) {
        match timeout(WAIT, forward(target, message)).await {
            Ok(Ok(told)) => status = told,
            Ok(Err(error)) => {
                shown["problem"] = json!(format!("it cannot be handed on: {error:#}"));
                status = 502;
            }
            Err(_elapsed) => status = 504,
        }
    }
    shown["answered"] = if plan.hang { Value::Null } else { json!(status) };
    (status, shown)
}

/// Hands a message on as it came.
async fn forward(target: &Target, message: &Message) -> Result<u16> {
    let host = match &target.host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.clone(),
    };
    let mut stream = TcpStream::connect((host, target.port)).await.context("no connection")?;
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
        target.path, target.authority
    );
    for (name, value) in &message.head {
        if !["host", "connection", "transfer-encoding"].contains(&name.as_str()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    stream.write_all(&message.body).await?;
    let mut start = Vec::new();
    while start.len() < 12 {
        if stream.read_buf(&mut start).await? == 0 {
            bail!("no answer");
        }
    }
    let status = std::str::from_utf8(&start[9..12]).ok().and_then(|status| status.parse().ok());
    status.context("the answer is not HTTP")
}
