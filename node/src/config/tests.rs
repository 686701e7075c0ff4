use super::*;

const SOUND: &str = r#"
cluster = "kin"
node = 1
data_dir = "/var/lib/fiscus"
rpc_listen = "10.0.0.1:7400"
admin_listen = "127.0.0.1:7401"
[tls]
ca = "ca.pem"
cert = "node.pem"
key = "node.key"
[signer]
kind = "key-file"
path = "keys"
passphrase_file = "passphrase"
"#;

fn parse(text: &str) -> Result<NodeConfig, String> {
    let config: NodeConfig = toml::from_str(text).map_err(|error| error.to_string())?;
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

#[test]
fn a_sound_file_is_taken_and_printed_as_it_is() {
    let config = parse(SOUND).expect("it is sound");
    assert_eq!(config.raft, RaftSection::default());
    assert_eq!(parse(&config.to_toml()), Ok(config));
}

#[test]
fn what_cannot_be_is_named() {
    let rows = [
        ("cluster = \"kin\"", "cluster = \"\"", "cluster"),
        ("cluster = \"kin\"", "cluster = \"a b\"", "cluster"),
        ("node = 1", "node = 0", "node"),
        ("node = 1", "node = 1\nnodes = 3", "nodes"),
        ("admin_listen = \"127.0.0.1:7401\"", "admin_listen = \"10.0.0.1:7401\"", "admin_listen"),
        ("passphrase_file = \"passphrase\"", "", "passphrase_file"),
        (
            "passphrase_file = \"passphrase\"",
            "passphrase_file=\"a\"\npassphrase_env=\"b\"",
            "signer",
        ),
        ("[tls]", "[raft]\nheartbeat_ms = 5\n[tls]", "heartbeat_ms"),
        ("[tls]", "[raft]\nelection_min_ms = 600\n[tls]", "election_min_ms"),
        ("[tls]", "[raft]\nelection_max_ms = 600\n[tls]", "election_max_ms"),
        ("[tls]", "[limits]\nbatch_bytes_max = 1000\n[tls]", "batch_bytes_max"),
        ("[tls]", "[limits]\nqueue_bytes_max = 1000000\n[tls]", "queue_bytes_max"),
        ("[tls]", "[limits]\nlog_segment_bytes = 1500000\n[tls]", "log_segment_bytes"),
        ("[tls]", "[clock]\nsample_interval_ms = 1500\n[tls]", "sample_interval_ms"),
    ];
    for (from, to, named) in rows {
        let error = parse(&SOUND.replace(from, to)).expect_err(to);
        assert!(error.contains(named), "{to}: {error}");
    }
}

#[test]
fn plain_text_needs_the_flag_and_a_loopback_address() {
    let plain = SOUND.split("[tls]").next().expect("a head").to_owned();
    let signer = "[signer]\nkind = \"key-file\"\npath = \"keys\"\npassphrase_env = \"P\"\n";
    let with = |head: &str| parse(&format!("{head}{signer}"));
    assert!(with(&plain).is_err());
    let flagged = plain.replace("node = 1", "node = 1\ninsecure = true");
    assert!(with(&flagged).is_err());
    assert!(with(&flagged.replace("10.0.0.1", "127.0.0.1")).is_ok());
}
