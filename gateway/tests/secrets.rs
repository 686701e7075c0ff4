//! No key is in a log or in an answer, wherever a client puts it.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use support::World;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// It is the only test of this file: the log is the whole process's.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_or_answered() {
    let captured = Captured::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(captured.clone())
        .init();
    let world = World::start().await;
    let key = world.keys["owner"].clone();
    let secret = key.rsplit('_').next().expect("a secret").to_owned();
    let new = json!({"name": "Caisse", "role": "cashier"});
    let made = world.post("/api/v1/api-keys").by("owner").idempotent("k").json(&new).send().await;
    let made = made.expect(201).json();
    let made = made["key"]
        .as_str()
        .expect("the key's text")
        .rsplit('_')
        .next()
        .expect("a secret")
        .to_owned();

    let mut answers = vec![
        world.get(&format!("/api/v1/outlets/{key}")).by("owner").send().await.expect(404),
        world.get(&format!("/{key}")).send().await.expect(404),
        world.get(&format!("/api/v1/outlets?key={key}")).by("owner").send().await.expect(400),
        world.get(&format!("/api/v1/outlets?cursor={key}")).by("owner").send().await.expect(400),
        world.get("/api/v1/outlets").bearer(&format!("{key}x")).send().await.expect(401),
        world.get("/api/v1/outlets").header("authorization", &key).send().await.expect(401),
        world.get("/api/v1/outlets").header("x-request-id", &key).send().await.expect(401),
    ];
    for body in [
        json!({"name": 5, "role": key}),
        json!({ key.clone(): 1 }),
        json!({"name": "x", "role": key}),
    ] {
        let call = world.post("/api/v1/api-keys").by("owner").idempotent("b").json(&body);
        answers.push(call.send().await.expect(422));
    }
    let call = world.post("/api/v1/merchants").by("owner").idempotent(&key);
    answers.push(call.json(&json!({"nif": key, "name": "x"})).send().await.expect(422));
    for answer in &answers {
        assert!(!answer.text().contains(&secret), "{}", answer.text());
        assert!(!format!("{:?}", answer.headers).contains(&secret), "{:?}", answer.headers);
    }
    let log = captured.0.lock().expect("whole").clone();
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("answered"), "requests are logged");
    for (what, secret) in [("the key that asks", &secret), ("the key that was made", &made)] {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert!(line.is_none(), "{what}: {}", line.unwrap_or_default());
    }
}
