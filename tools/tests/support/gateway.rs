//! The gateway of a demonstration: requests to it, and gateways beside it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::{Demo, fiscus, signal};

#[path = "../../../gateway/tests/support/http.rs"]
pub mod http;

use http::Call;

/// Whatever a test asks is answered within this time.
pub const LIMIT: Duration = Duration::from_secs(60);

static NO_KEYS: BTreeMap<&str, String> = BTreeMap::new();

/// A request to a gateway.
pub fn call(address: SocketAddr, method: &str, path: &str) -> Call<'static> {
    Call::new(address, method, path, &NO_KEYS)
}

impl Demo {
    /// Where its gateway is.
    pub fn gateway_address(&self) -> SocketAddr {
        self.gateway.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Where health and metrics of its gateway are.
    pub fn gateway_admin(&self) -> SocketAddr {
        self.gateway_admin.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// A request to its gateway with its key.
    pub fn ask(&self, method: &str, path: &str) -> Call<'static> {
        call(self.gateway_address(), method, path).bearer(&self.api_key)
    }

    /// The process of its device proxy, while there is one.
    pub fn device_proxy_pid(&self) -> Option<u32> {
        self.child_pid("/device-proxy/device-proxy.toml")
    }

    /// The process of the tax authority's stand-in, while there is one.
    pub fn mcf_pid(&self) -> Option<u32> {
        self.child_pid(" mcf-sim ")
    }

    /// The process of its gateway, while there is one.
    pub fn gateway_pid(&self) -> Option<u32> {
        self.child_pid("/gateway/gateway.toml")
    }

    /// kill -9; it is started again after a moment.
    pub fn kill_gateway(&self) {
        if let Some(pid) = self.gateway_pid() {
            signal("KILL", pid);
        }
    }
}

/// A gateway that the test runs before a demonstration's cluster, at ports of its own.
pub struct Beside {
    child: Option<Child>,
    program: fn() -> std::process::Command,
    config: std::path::PathBuf,
    pub address: SocketAddr,
    admin: SocketAddr,
}

impl Beside {
    pub async fn start(dir: &Path) -> Self {
        Self::start_as(dir, fiscus).await
    }

    /// The same by a command that ends where the program's arguments begin.
    pub async fn start_as(dir: &Path, program: fn() -> std::process::Command) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (public, admin) = (free(), free());
        let config = dir.join("gateway/gateway.toml");
        let (address, admin_address) = (public.local_addr().unwrap(), admin.local_addr().unwrap());
        drop((public, admin));
        let mut beside = Self { child: None, program, config, address, admin: admin_address };
        beside.restart();
        beside.ready().await;
        beside
    }

    /// Starts it where it was.
    pub fn restart(&mut self) {
        self.kill();
        let child = (self.program)()
            .args(["gateway", "--stop-with-stdin", "--config"])
            .arg(&self.config)
            .args(["--listen", &self.address.to_string()])
            .args(["--admin-listen", &self.admin.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub async fn ready(&self) {
        ready(self.admin).await;
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until a gateway is ready.
pub async fn ready(admin: SocketAddr) {
    let waiting = async {
        while !call(admin, "GET", "/readyz").try_send().await.is_ok_and(|said| said.status == 200) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("the gateway is ready");
}
