//! What ends a run early: signals and a deadline. Work in hand is finished or, where that takes long, given up; what
//! is done is kept, and the exit code is 75. A second signal ends the run at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

use super::{going_on, tell};
use crate::error::Error;
use crate::exec::budget::Bytes;

/// Exit code of a run that a second signal ended on the spot.
const AT_ONCE: i32 = 130;
/// Work in hand is given up after this.
const PATIENCE: Duration = Duration::from_millis(3500);
/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(50);

/// A flag that SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1 and SIGXCPU set, and the `deadline` of a run that began at `start`. The
/// run takes the flag down when nothing is left to be stopped.
pub(super) fn early(start: Instant, deadline: Option<Duration>) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let hang_up = Some(SIGHUP).filter(|signal| !is_ignored(*signal));
    for signal in [SIGINT, SIGQUIT, SIGTERM, SIGUSR1, libc::SIGXCPU].into_iter().chain(hang_up) {
        // Order matters: the first signal finds the flag unset, sets it, and only the second one exits.
        signal_hook::flag::register_conditional_shutdown(signal, AT_ONCE, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("cannot watch for signals")?;
    }
    // What may not grow any more is told by the write.
    signal_hook::flag::register(libc::SIGXFSZ, Arc::default()).context("cannot watch for signals")?;
    let end = deadline.and_then(|after| start.checked_add(after));
    let flag = Arc::clone(&stop);
    let watch = std::thread::Builder::new().name("clock".into()).stack_size(64 << 10);
    watch.spawn(move || keep_time(&flag, end)).context("cannot start the clock")?;
    Ok(stop)
}

/// What is told where the address space is used up.
static WANT: OnceLock<String> = OnceLock::new();

/// Where the address space is limited, tells of that instead of aborting when it is used up: not all that asks for memory,
/// or begins a thread, can be refused it.
pub(super) fn tell_of_want() {
    use rustix::process::{Resource, getrlimit};
    let Some(limit) = getrlimit(Resource::As).current else { return };
    let text = format!(
        "stackctl: memory cannot be had: the address space is limited to {} (ulimit -v): raise that, or give less --memory and \
         fewer --threads; what is done is kept\n",
        Bytes(limit)
    );
    if WANT.set(text).is_ok() {
        // SAFETY: the handler reads what is never changed again, and calls nothing but what handlers may call.
        unsafe { libc::signal(libc::SIGABRT, end_in_want as *const () as libc::sighandler_t) };
    }
}

extern "C" fn end_in_want(_: libc::c_int) {
    let text = WANT.get().map_or("", String::as_str);
    // SAFETY: both may be called in a handler; the text is as long as is said.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
        libc::_exit(1);
    }
}

/// Sets the flag at `end`, and ends the process where the flag has been up for too long.
fn keep_time(stop: &AtomicBool, mut end: Option<Instant>) {
    let mut up_since = None;
    loop {
        std::thread::sleep(TICK);
        let now = Instant::now();
        if end.take_if(|end| now >= *end).is_some() {
            stop.store(true, Ordering::Relaxed);
        }
        match (stop.load(Ordering::Relaxed), up_since) {
            (false, _) => up_since = None,
            (true, None) => up_since = Some(now),
            (true, Some(since)) if now.duration_since(since) < PATIENCE => {}
            (true, Some(_)) => {
                let error = Error::Stopped(format!("stopped, and what was in hand was given up; {}", going_on()));
                tell(format_args!("stackctl: {error}"));
                std::process::exit(i32::from(error.exit_code()));
            }
        }
    }
}

/// Whether whoever started this process had it ignore `signal`, as nohup does.
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and the old one is written to memory that is large enough for it.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all zeros are a valid action, should the call have failed.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}
