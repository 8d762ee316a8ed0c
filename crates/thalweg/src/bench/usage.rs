//! What this process has used so far, as the system counts it.

use std::time::Duration;

/// A reading of the process's own counters.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub user: Duration,
    pub system: Duration,
    /// Largest resident set since the process started.
    pub max_rss_bytes: u64,
}

impl Usage {
    pub fn now() -> Self {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: getrusage writes one rusage behind the pointer; the zeroed value is valid even if it fails.
        let usage = unsafe {
            let status = libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            assert_eq!(status, 0, "getrusage of the own process cannot fail");
            usage.assume_init()
        };
        let time = |value: libc::timeval| {
            Duration::from_secs(value.tv_sec as u64) + Duration::from_micros(value.tv_usec as u64)
        };
        // Linux counts the resident set in KiB, macOS in bytes.
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        Self { user: time(usage.ru_utime), system: time(usage.ru_stime), max_rss_bytes: usage.ru_maxrss as u64 * unit }
    }

    /// User and system time since an earlier reading.
    pub fn since(&self, earlier: &Self) -> (Duration, Duration) {
        (self.user.saturating_sub(earlier.user), self.system.saturating_sub(earlier.system))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_rise() {
        let before = Usage::now();
        let mut sum = 0_u64;
        while Usage::now().since(&before).0 < Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(before.max_rss_bytes > 1 << 20);
    }
}
