//! The gateway of `fiscus demo` and the keys that operators make, with real processes.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use fiscus_ledger::json::Value;
use support::gateway::{call, ready};
use support::{Demo, admin, fiscus, fresh, signal, text, until};

const SALE: &str = include_str!("../../docs/samples/sale.json");

#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_has_a_gateway_that_comes_back_with_its_key() {
    let dir = fresh("gateway-demo");
    let demo = Demo::start_with(&dir, &["--nodes", "1"]);
    let seal = |demo: &Demo| {
        demo.ask("POST", "/api/v1/invoices").idempotent("sale-1").body("application/json", SALE)
    };
    let first = seal(&demo).send().await.expect(201);
    let number = first.json()["fiscal_number"].as_str().unwrap().to_owned();
    assert!(number.starts_with("KIN-GOMBE-"), "{number}");

    let killed = demo.gateway_pid().expect("it runs");
    demo.kill_gateway();
    until("it is back", Duration::from_secs(30), || {
        demo.gateway_pid().is_some_and(|pid| pid != killed)
    })
    .await;
    ready(demo.gateway_admin()).await;
    assert_eq!(seal(&demo).send().await.expect(200).body, first.body);
    let (gateway, key) = (demo.gateway.clone(), demo.api_key.clone());
    let said = demo.stop();
    assert!(said.contains("the gateway ended") && said.contains("the gateway is back"), "{said}");

    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.join("api-key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    // A directory of an older program knows of no gateway.
    let remembered = dir.join("demo.toml");
    let known = std::fs::read_to_string(&remembered).unwrap();
    let older: String = known
        .lines()
        .filter(|line| !line.starts_with("gateway"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_ne!(known, older);
    let demo = Demo::start(&dir);
    assert_eq!((&demo.gateway, &demo.api_key), (&gateway, &key), "a kept directory keeps both");
    demo.stop();
    std::fs::write(&remembered, older).unwrap();
    let demo = Demo::start(&dir);
    assert_eq!(demo.api_key, key);
    assert_eq!(seal(&demo).send().await.expect(200).body, first.body);
    let said = demo.stop();
    assert!(said.contains("an older program made this cluster: it gets a gateway"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_the_first_organisation_and_its_keys() {
    let demo = Demo::start_with(&fresh("gateway-operator"), &["--nodes", "1"]);
    let run = |arguments: &str| admin(&demo.dir, arguments);
    let made = run("organisations create org-lualaba --name Lualaba --yes --json");
    assert!(made.0, "{}", made.1);
    let again = run("organisations create org-lualaba --name Lualaba --yes --json");
    assert!(!again.0 && again.1.contains("OPERATION_REFUSED"), "{}", again.1);
    let listed = run("organisations list");
    assert!(listed.1.contains("org-lualaba") && listed.1.contains("org-kivu-retail"), "{listed:?}");

    let create = "api-keys create --organisation org-kivu-retail --name Tills --role integrator";
    let refused = run(&format!("{create} --yes"));
    assert!(!refused.0 && refused.1.contains("give --scope"), "{}", refused.1);
    let unasked = run(&format!("{create} --scope invoices:seal"));
    assert!(!unasked.0 && unasked.1.contains("--yes"), "{}", unasked.1);
    let elsewhere = run("api-keys create --organisation org-nowhere --name N --role owner --yes");
    assert!(!elsewhere.0 && elsewhere.1.contains("there is no organisation"), "{}", elsewhere.1);
    let made = run(&format!("{create} --scope invoices:seal --outlet outlet-gombe --yes --json"));
    assert!(made.0, "{}", made.1);
    let line = made.1.lines().find(|line| line.starts_with('{')).unwrap();
    let said = Value::parse(line).unwrap();
    let (id, key) = (text(&said, "id"), text(&said, "key"));

    let seal = |sale: String| {
        call(demo.gateway_address(), "POST", "/api/v1/invoices")
            .bearer(&key)
            .idempotent("operator-1")
            .body("application/json", sale)
    };
    seal(SALE.to_owned()).send().await.expect(201);
    let limited = seal(SALE.replace("outlet-gombe", "outlet-limete")).send().await;
    assert_eq!((limited.status, &*limited.code()), (404, "OUTLET_UNKNOWN"));
    let listed = run("api-keys list --organisation org-kivu-retail");
    assert!(listed.1.contains(&id) && !listed.1.contains(&key), "{}", listed.1);

    assert!(run(&format!("api-keys revoke {id} --yes")).0);
    assert!(run(&format!("api-keys revoke {id} --yes")).0, "it is revoked already");
    let refused = async {
        while seal(SALE.to_owned()).send().await.status != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("it is refused soon");
    demo.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_process_prints_its_configuration_and_ends_by_a_signal() {
    let demo = Demo::start_with(&fresh("gateway-process"), &["--nodes", "1"]);
    let config = demo.dir.join("gateway/gateway.toml");
    let gateway = |arguments: &[&str]| {
        let mut command = fiscus();
        command.args(["gateway", "--config"]).arg(&config).args(arguments);
        command
    };
    let printed = gateway(&["--print-config", "--listen", "127.0.0.1:4711"]).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("listen = \"127.0.0.1:4711\""), "{printed}");
    assert!(printed.contains("requests_max = 1024"), "{printed}");
    let wrong = gateway(&["--listen", "0.0.0.0:4711"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "plain HTTP is for this machine");
    let taken = gateway(&[]).output().unwrap();
    assert_eq!(taken.status.code(), Some(1), "its port is taken");
    assert!(String::from_utf8_lossy(&taken.stderr).contains("cannot listen"), "{taken:?}");

    for name in ["TERM", "INT"] {
        let mut child = gateway(&["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It catches signals from its first word on.
        let mut first = [0];
        std::io::Read::read_exact(child.stderr.as_mut().unwrap(), &mut first).unwrap();
        signal(name, child.id());
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert!(status.success(), "{name}: {status}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_fiscus")).args(["gateway", "--help"]).output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    assert!(help.contains("Exit codes:") && help.contains("Example:"), "{help}");
    demo.stop();
}
