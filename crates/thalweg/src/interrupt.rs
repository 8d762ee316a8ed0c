//! Ctrl-C and SIGTERM: the first asks to stop in order, the second ends the process at once.
//!
//! Owner: one listener per process, started by the command that wants an orderly stop. Commands that do not start it
//! keep the system's behaviour (the signal kills the process).

use std::sync::Arc;

use tokio::sync::Notify;

use crate::exit::{Exit, talk};

/// Tells when the person asked to stop.
#[derive(Debug, Clone)]
pub struct Interrupts {
    asked: Arc<Notify>,
}

impl Interrupts {
    /// Starts listening. `second` is said at the first signal, so that the person knows what a second one does.
    pub fn listen(first: &'static str) -> Self {
        let asked = Arc::new(Notify::new());
        let notify = asked.clone();
        tokio::spawn(async move {
            signal().await;
            talk(first);
            // A permit is stored if nobody waits yet, so an early signal is not lost.
            notify.notify_one();
            signal().await;
            talk("interrupted");
            std::process::exit(Exit::Interrupted as i32);
        });
        Self { asked }
    }

    /// Waits for the first signal.
    pub async fn asked(&self) {
        self.asked.notified().await;
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
