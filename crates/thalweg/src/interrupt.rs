//! Ctrl-C and SIGTERM: the first asks to stop in order, the second ends the process at once.
//!
//! Owner: the command that wants an orderly stop, for as long as it keeps the value. Without one, the system's behaviour
//! stands (the signal kills the process) unless a listener was there before: tokio keeps signals from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::exit::{Exit, talk};

/// Wrappers (`timeout`, `make`, shells) often deliver one Ctrl-C twice, to the process and to its group. What comes this soon
/// after the first is the same one.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Tells when the person asked to stop. Listening ends when this is dropped.
#[derive(Debug)]
pub struct Interrupts {
    asked: Arc<Asked>,
    listener: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Asked {
    notify: Notify,
    flag: AtomicBool,
}

impl Interrupts {
    /// Starts listening. `first` is said at the first signal, so that the person knows what a second one does.
    pub fn listen(first: &'static str) -> Self {
        let asked = Arc::new(Asked::default());
        let told = asked.clone();
        let listener = tokio::spawn(async move {
            signal().await;
            talk(first);
            told.flag.store(true, Ordering::Release);
            // A permit is stored if nobody waits yet, so an early signal is not lost.
            told.notify.notify_one();
            tokio::time::sleep(SAME_SIGNAL).await;
            signal().await;
            talk("interrupted");
            std::process::exit(Exit::Interrupted as i32);
        });
        Self { asked, listener }
    }

    /// Waits for the first signal.
    pub async fn asked(&self) {
        if !self.was_asked() {
            self.asked.notify.notified().await;
        }
    }

    pub fn was_asked(&self) -> bool {
        self.asked.flag.load(Ordering::Acquire)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// The next SIGINT or SIGTERM. Pending for ever if the system lets neither be watched.
pub async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut term) = signal(SignalKind::terminate()) else {
            return std::future::pending().await;
        };
        tokio::select! {
            result = tokio::signal::ctrl_c() => if result.is_err() { std::future::pending().await },
            _ = term.recv() => {}
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
