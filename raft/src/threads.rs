//! Where work runs that takes long: beside the tasks, when there are threads for it.
//!
//! On a runtime of one thread everything runs on that thread, in an order that the runtime decides: there is
//! nobody to make room for, and nothing happens at the same time. Handing work to another thread costs more
//! than a little work does, most of all while the machine is idle: what is brief stays where it is.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinError;

fn has_threads() -> bool {
    let handle = Handle::try_current();
    handle.is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Runs what takes long without stopping the others that share the thread.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    if has_threads() { tokio::task::block_in_place(work) } else { work() }
}

/// Runs work that is brief where it is, and longer work as [`blocking`] does.
pub fn blocking_unless<T>(brief: bool, work: impl FnOnce() -> T) -> T {
    if brief { work() } else { blocking(work) }
}

/// Runs what takes long beside the tasks, on a thread of its own when there are any. It fails only when the
/// work panics, or the runtime ends.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if has_threads() {
        tokio::task::spawn_blocking(work).await
    } else {
        tokio::spawn(async move { work() }).await
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn on_one_thread_nothing_leaves_it() {
        let here = thread::current().id();
        assert_eq!(aside(|| thread::current().id()).await.expect("no panic"), here);
        assert_eq!(blocking(|| thread::current().id()), here);
        assert!(aside(|| panic!("on purpose")).await.expect_err("it panics").is_panic());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn with_threads_the_tasks_go_on() {
        let here = thread::current().id();
        assert_ne!(aside(|| thread::current().id()).await.expect("no panic"), here);
    }
}
