//! Copies a verified snapshot of a group into a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fiscus_proto::admin::Progress;
use fiscus_raft::store::SnapshotDir;
use fiscus_raft::threads::aside;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::groups::Hosted;

/// A snapshot is complete within this time.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(600);
/// Messages that wait for the network.
const MESSAGES_MAX: usize = 16;

/// Makes a snapshot of everything applied now, and copies it to `path/group-{n}`.
pub(crate) fn start(
    hosted: Arc<Hosted>,
    path: &Path,
) -> impl Stream<Item = Result<Progress, Status>> + Send + use<> {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let target = path.join(format!("group-{}", hosted.handle.group()));
    tokio::spawn(async move {
        if let Err(status) = run(&hosted, target, &sender).await {
            // Whoever asked may have gone.
            let _ = sender.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver)
}

async fn run(
    hosted: &Hosted,
    target: PathBuf,
    sender: &mpsc::Sender<Result<Progress, Status>>,
) -> Result<(), Status> {
    let say = |step: &str, done: u64, total: u64, finished: bool| {
        let step = step.to_owned();
        sender.send(Ok(Progress { step, done, total, finished, ..Progress::default() }))
    };
    let _ = say("snapshot", 0, 0, false).await;
    let made = hosted.handle.make_snapshot(SNAPSHOT_WAIT).await;
    made.map_err(|error| Status::failed_precondition(error.to_string()))?;
    let lost = |error: &dyn std::error::Error| Status::data_loss(error.to_string());
    let newest = hosted.handle.replica().newest_snapshot().map_err(|error| lost(&error))?;
    let snapshot: SnapshotDir =
        newest.ok_or_else(|| Status::unavailable("there is no snapshot"))?;
    let total = snapshot.bytes();
    let _ = say("copy and verify", 0, total, false).await;
    let replica = hosted.handle.replica().clone();
    let copied = aside(move || replica.export(&snapshot, &target)).await;
    copied.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| lost(&error))?;
    let _ = say("copy and verify", total, total, true).await;
    Ok(())
}
