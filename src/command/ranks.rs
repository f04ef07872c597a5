//! The ranks of an MPI launcher that do one command together, if `--mpi` asks for them.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;

use super::{tell, voice};
use crate::cli::ReduceArgs;
use crate::consume::Job;
use crate::error::Error;
use crate::exec::budget::{Bytes, Limit, variable};
use crate::exec::mpi::Mpi;
use crate::exec::world::World;

/// How often, and how long each time, what was said may keep the end waiting.
const MOST_WAITS: u32 = 400;
const WAIT: Duration = Duration::from_millis(5);

/// Those of this process, which are ended together.
static WORLD: OnceLock<Arc<Mpi>> = OnceLock::new();

/// Does `all` as one of the ranks that the launcher has started: with the least memory that any of them may use, for all to
/// have one plan, and nothing said but by the first.
pub(super) fn together(
    args: &ReduceArgs,
    library: &Path,
    all: impl FnOnce(&ReduceArgs, Arc<dyn World>) -> Result<()>,
) -> Result<()> {
    let run = &args.run;
    let others = [("a plan", run.planned.is_some()), ("--share", run.share.is_some()), ("--by", args.by.is_some())];
    if let Some((other, _)) = others.iter().find(|(_, is_there)| *is_there) {
        return Err(Error::usage(format!("--mpi does all of one result at once: it does not go with {other}")).into());
    }
    if voice::is_verbose() {
        // UCX is to say by what it goes.
        for (name, value) in [("UCX_LOG_LEVEL", "info"), ("UCX_LOG_FILE", "stderr")] {
            if std::env::var_os(name).is_none() {
                // SAFETY: there is one thread yet, and nothing else reads or changes the environment.
                unsafe { std::env::set_var(name, value) };
            }
        }
    }
    let named = Some(library).filter(|path| *path != Path::new("auto"));
    let mpi = Arc::clone(WORLD.get_or_init({
        let mpi = Arc::new(Mpi::join(named, &variable)?);
        || mpi
    }));
    if voice::is_verbose() {
        tell(mpi.describe());
    }
    let world: Arc<dyn World> = mpi.clone();
    let mut args = args.clone();
    args.run.memory = Some(Bytes(least(&*world, Limit::resolve(run.memory).bytes)?));
    args.run.quiet |= world.rank() > 0;
    all(&args, world)?;
    mpi.finish();
    Ok(())
}

/// The least of the numbers that all ranks have.
fn least(world: &dyn World, own: u64) -> Result<u64, Error> {
    let number = |bytes: Vec<u8>| bytes.try_into().map(u64::from_le_bytes).map_err(|_| Error::format("no number"));
    let add = |own: &mut u64, bytes| number(bytes).map(|theirs| *own = theirs.min(*own));
    let least = world.gather(own, |own| own.to_le_bytes().to_vec(), add)?;
    number(world.spread(least.unwrap_or_default().to_le_bytes().to_vec())?)
}

/// Refuses to fold together what is not the same to all ranks: inputs, settings, and the plan.
pub(super) fn agree(world: &dyn World, job: &Job) -> Result<(), Error> {
    let own = job.manifest.to_string().into_bytes();
    if world.spread(own.clone())? == own {
        return Ok(());
    }
    Err(Error::format(format!(
        "rank {} of {} finds other inputs than rank 0, or has another program: all must see the same files",
        world.rank(),
        world.size()
    )))
}

/// Ends all ranks, if there are others: one that has failed would be waited for. A launcher that hears of it may pass on
/// no more of what was said, which is waited for.
pub fn abort(code: u8) {
    let Some(mpi) = WORLD.get() else { return };
    let is_unread = || rustix::io::ioctl_fionread(rustix::stdio::stderr()).is_ok_and(|n| n > 0);
    for _ in 0..MOST_WAITS {
        if !is_unread() {
            break;
        }
        std::thread::sleep(WAIT);
    }
    mpi.abort(code);
}
