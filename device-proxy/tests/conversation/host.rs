//! A host: it sends frames, reads answers, and writes down what was said.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fiscus_device_proxy::protocol::frame::framed;
use fiscus_ledger::time::UnixMs;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Whatever is asked is answered within this time, and whatever is waited for is there.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Fields whose values differ between two runs; times do wherever they stand.
const VOLATILE: [&str; 11] = [
    "nonce",
    "auth_code",
    "dgi_authorization",
    "qr_payload",
    "since",
    "payload_hash",
    "prev_hash",
    "entry_hash",
    "signature",
    "firmware_version",
    "date",
];

/// One end of a line.
pub(crate) struct Host<S> {
    stream: BufReader<S>,
    said: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Host<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream), said: String::new() }
    }

    /// The line itself.
    pub(crate) fn into_stream(self) -> S {
        self.stream.into_inner()
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("it is written");
    }

    /// The same on a line that may be gone.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads one answer: the body of a frame.
    pub(crate) async fn answer(&mut self) -> String {
        self.try_answer().await.expect("an answer")
    }

    /// The same on a line that may be gone. None in time is a failure however the line is.
    pub(crate) async fn try_answer(&mut self) -> io::Result<String> {
        let reading = async {
            let mut body = Vec::new();
            loop {
                match self.stream.read_u8().await? {
                    2 => body.clear(),
                    3 => return Ok(String::from_utf8(body).expect("answers are text")),
                    byte => body.push(byte),
                }
            }
        };
        tokio::time::timeout(LIMIT, reading).await.expect("an answer in time")
    }

    /// Whether the other end has hung up.
    pub(crate) async fn is_let_go(&mut self) -> bool {
        let read = tokio::time::timeout(LIMIT, self.stream.read_u8()).await;
        read.expect("it ends in time").is_err()
    }

    /// Asks, and writes both down.
    pub(crate) async fn ask(&mut self, body: &str) -> String {
        self.send(&framed(body, false)).await;
        let answer = self.answer().await;
        self.note(body, &answer);
        answer
    }

    pub(crate) fn note(&mut self, asked: &str, answer: &str) {
        self.said.push_str(&format!("> {}\n< {}\n", masked(asked), masked(answer)));
    }

    /// Writes down one side of what is said, and whose it is.
    pub(crate) fn line(&mut self, who: &str, text: &str) {
        self.said.push_str(&format!("{who} {}\n", masked(text)));
    }

    /// Writes down what the next lines are about.
    pub(crate) fn title(&mut self, text: &str) {
        self.said.push_str(&format!("\n# {text}\n"));
    }

    /// Prepares an invoice; its nonce.
    pub(crate) async fn prepare(&mut self, invoice: &str) -> String {
        let answer = self.ask(&format!("TXN|PREPARE {invoice}")).await;
        field(&answer, "nonce").unwrap_or_else(|| panic!("{answer}"))
    }

    pub(crate) async fn commit(&mut self, nonce: &str) -> String {
        self.ask(&format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}")).await
    }

    /// Prepares and commits; the sequence.
    pub(crate) async fn sell(&mut self, invoice: &str) -> u64 {
        let nonce = self.prepare(invoice).await;
        sequence(&self.commit(&nonce).await)
    }

    /// Compares what was said with what was said before.
    pub(crate) fn matches(&self, name: &str) {
        let path = transcript(name);
        let said = self.said.trim_start();
        if std::env::var_os("FISCUS_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
            std::fs::write(&path, said).expect("it is written");
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(said == known, "{} differs; it is now:\n{said}", path.display());
    }
}

/// Where a transcript is, from the folder of any of the product's crates.
pub(crate) fn transcript(name: &str) -> PathBuf {
    let file = format!("../device-proxy/tests/conversation/transcripts/{name}.txt");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// A text field of an answer.
pub(crate) fn field(answer: &str, name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(answer).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}

/// The code of an answer; `OK` when there is none.
pub(crate) fn code(answer: &str) -> String {
    field(answer, "code").unwrap_or_else(|| {
        assert!(answer.starts_with("{\"status\":\"OK\""), "{answer}");
        "OK".to_owned()
    })
}

pub(crate) fn sequence(answer: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(answer).expect("JSON");
    value["invoice_seq"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

/// Waits until a question is answered as it should be.
pub(crate) async fn until<S: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host<S>,
    body: &str,
    wanted: impl Fn(&str) -> bool,
) -> String {
    let asking = async {
        loop {
            host.send(&framed(body, false)).await;
            let answer = host.answer().await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, asking).await.expect("it is answered so in time")
}

fn masked(text: &str) -> String {
    let mut text = text.to_owned();
    for name in VOLATILE {
        let opening = format!("\"{name}\":\"");
        let mut from = 0;
        while let Some(at) = text[from..].find(&opening) {
            let start = from + at + opening.len();
            let end = start + text[start..].find('"').expect("a text ends");
            text.replace_range(start..end, "…");
            from = start;
        }
    }
    // What the system says of it is the system's.
    for opening in ["does not answer: ", "whether this was done: "] {
        let mut from = 0;
        while let Some(at) = text[from..].find(opening) {
            let start = from + at + opening.len();
            // What to do about it comes behind.
            let ends = ["; nothing was done", "; ask again", "\"}"];
            let ends = ends.iter().filter_map(|end| text[start..].find(end));
            let end = start + ends.min().expect("a text ends");
            text.replace_range(start..end, "…");
            from = start;
        }
    }
    let is_time = |window: &str| UnixMs::parse_canonical(window).is_some();
    while let Some(at) = (0..text.len()).find(|at| text.get(*at..at + 24).is_some_and(is_time)) {
        text.replace_range(at..at + 24, "…");
    }
    let opening = "\"free_memory_bytes\":";
    if let Some(at) = text.find(opening) {
        let start = at + opening.len();
        let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
        text.replace_range(start..start + digits, "…");
    }
    text
}
