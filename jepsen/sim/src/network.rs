//! The nodes' addresses, and connections over the simulated links.
//!
//! Nodes tell each other loopback addresses, since they speak plain text; each leads to the machine whose
//! number its port has.

use std::io;

use fiscus_node::surroundings::Arrived;
use fiscus_proto::dial::Dialer;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use turmoil::net::{TcpListener, TcpStream};

/// Every node listens here on its own machine.
const PORT: u16 = 7_000;

/// What a node is told to be its address.
pub(crate) fn address(id: u64) -> String {
    format!("127.0.0.1:{}", u64::from(PORT) + id)
}

/// A machine's name.
pub(crate) fn machine(id: u64) -> String {
    format!("n{id}")
}

/// Reaches nodes by their addresses.
pub(crate) fn dialer() -> Dialer {
    Dialer::new(|address| async move {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let id = port.and_then(|port| port.checked_sub(PORT)).ok_or(io::ErrorKind::InvalidInput)?;
        TcpStream::connect((machine(u64::from(id)), PORT)).await
    })
}

/// Who reaches this machine.
pub(crate) async fn listen() -> io::Result<BoxStream<'static, io::Result<Arrived>>> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let arrivals = unfold(listener, |listener| async move {
        let arrived = listener.accept().await.map(|(stream, _)| Arrived::new(stream));
        Some((arrived, listener))
    });
    Ok(arrivals.boxed())
}
