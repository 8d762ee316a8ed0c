//! The terminal between two lines of input.
//!
//! The line editor takes keys one by one, but only while it reads. Keys that are pressed while a statement runs would be
//! gathered into lines by the terminal, and the editor would take their line ends for something else and lose what stands
//! behind the first. So the terminal passes keys on as they are for as long as the shell runs; Ctrl-C still interrupts.

/// Holds the terminal in that mode until it is dropped.
#[derive(Debug)]
pub struct KeysAsTheyAre {
    #[cfg(unix)]
    before: Option<libc::termios>,
}

impl KeysAsTheyAre {
    /// Without a terminal nothing happens.
    pub fn hold() -> Self {
        #[cfg(unix)]
        {
            let Some(before) = attributes() else { return Self { before: None } };
            let mut own = before;
            own.c_iflag &= !(libc::ICRNL | libc::INLCR);
            own.c_lflag &= !(libc::ICANON | libc::ECHO);
            apply(&own);
            Self { before: Some(before) }
        }
        #[cfg(not(unix))]
        Self {}
    }
}

impl Drop for KeysAsTheyAre {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            apply(before);
        }
    }
}

#[cfg(unix)]
fn attributes() -> Option<libc::termios> {
    let mut termios = std::mem::MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: tcgetattr writes one termios behind the pointer, and reports success with 0.
    unsafe {
        if libc::tcgetattr(libc::STDIN_FILENO, termios.as_mut_ptr()) != 0 {
            return None;
        }
        Some(termios.assume_init())
    }
}

#[cfg(unix)]
fn apply(termios: &libc::termios) {
    // SAFETY: the pointer is a valid termios for the whole call. A terminal that is gone cannot be changed: no matter.
    unsafe {
        libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, termios);
    }
}
