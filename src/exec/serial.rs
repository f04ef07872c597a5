//! Tasks one after the other on the calling thread: the reference that other executors are compared with.

use super::{Order, Result, Task, Terms, stopped_after};

pub(super) fn run<W, T, O: Order<T>>(
    tasks: impl Iterator<Item = Task>,
    terms: &Terms<'_>,
    worker: impl Fn() -> W,
    work: impl Fn(&Task, &mut W) -> Result<T>,
    mut order: O,
) -> Result<()> {
    let mut worker = worker();
    for (n_done, task) in tasks.enumerate() {
        if terms.stopped() {
            return Err(stopped_after(n_done as u64));
        }
        let made = work(&task, &mut worker)?;
        let placed = order.place(&task, made)?;
        order.merge(&task, O::settle(placed)?)?;
    }
    Ok(())
}
