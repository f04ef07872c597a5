//! One task after the other on the calling thread: the reference that other executors are compared with.

use super::{Result, Task, Terms, Worker, stopped_after};

pub(super) fn run<T>(
    tasks: impl Iterator<Item = Task>,
    terms: &Terms<'_>,
    work: impl Fn(&Task, &mut Worker) -> Result<T>,
    mut merge: impl FnMut(&Task, T) -> Result<()>,
) -> Result<()> {
    let mut worker = Worker::default();
    for task in tasks {
        if terms.stopped() {
            return Err(stopped_after(task.index));
        }
        let part = work(&task, &mut worker)?;
        merge(&task, part)?;
    }
    Ok(())
}
