//! Processes that were started together and send each other bytes: the ranks of a launcher.

use crate::error::Result;
use crate::plan::Share;

/// All ranks, seen by one of them.
///
/// What one rank sends another arrives in the order in which it was sent. Who sends may have to wait until it is received;
/// one thread of a rank at a time sends or receives.
pub trait World: Send + Sync {
    /// This one, from 0.
    fn rank(&self) -> u64;

    /// How many there are.
    fn size(&self) -> u64;

    /// Sends `bytes` to rank `to`.
    ///
    /// # Errors
    /// `Io`.
    fn send(&self, to: u64, bytes: &[u8]) -> Result<()>;

    /// What rank `from` has sent next.
    ///
    /// # Errors
    /// `Io`.
    fn receive(&self, from: u64) -> Result<Vec<u8>>;
}

impl dyn World + '_ {
    /// The units that this rank does.
    pub fn share(&self) -> Share {
        Share { rank: self.rank(), n: self.size() }
    }

    /// Brings what all ranks have to rank 0, along a tree and in no order: each `add`s what others have `save`d to its own.
    /// The others get `None`.
    ///
    /// # Errors
    /// Those of `add` and of the way there.
    pub fn gather<T>(
        &self,
        mut own: T,
        save: impl FnOnce(T) -> Vec<u8>,
        mut add: impl FnMut(&mut T, Vec<u8>) -> Result<()>,
    ) -> Result<Option<T>> {
        let mut step = 1;
        while step < self.size() {
            if self.rank() & step != 0 {
                return self.send(self.rank() - step, &save(own)).map(|()| None);
            }
            if self.rank() + step < self.size() {
                add(&mut own, self.receive(self.rank() + step)?)?;
            }
            step *= 2;
        }
        Ok(Some(own))
    }

    /// Brings what rank 0 has to all, along the same tree.
    ///
    /// # Errors
    /// Those of the way there.
    pub fn spread(&self, mut own: Vec<u8>) -> Result<Vec<u8>> {
        let mut step = self.size().next_power_of_two();
        if self.rank() > 0 {
            step = self.rank() & self.rank().wrapping_neg();
            own = self.receive(self.rank() - step)?;
        }
        while step > 1 {
            step /= 2;
            if self.rank() + step < self.size() {
                self.send(self.rank() + step, &own)?;
            }
        }
        Ok(own)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Threads as ranks.
    pub(crate) struct Threads {
        rank: u64,
        to: Vec<Sender<Vec<u8>>>,
        from: Vec<Mutex<Receiver<Vec<u8>>>>,
    }

    impl World for Threads {
        fn rank(&self) -> u64 {
            self.rank
        }

        fn size(&self) -> u64 {
            self.to.len() as u64
        }

        fn send(&self, to: u64, bytes: &[u8]) -> Result<()> {
            self.to[to as usize].send(bytes.to_vec()).unwrap();
            Ok(())
        }

        fn receive(&self, from: u64) -> Result<Vec<u8>> {
            Ok(self.from[from as usize].lock().unwrap().recv().unwrap())
        }
    }

    /// Does `work` in every rank of a world of `n`; gives what comes of it, in their order.
    pub(crate) fn ranks<T: Send>(n: u64, work: impl Fn(Arc<dyn World>) -> T + Sync) -> Vec<T> {
        let mut worlds: Vec<Threads> = (0..n).map(|rank| Threads { rank, to: Vec::new(), from: Vec::new() }).collect();
        for from in 0..n as usize {
            for to in 0..n as usize {
                let (sender, receiver) = channel();
                worlds[from].to.push(sender);
                worlds[to].from.push(Mutex::new(receiver));
            }
        }
        std::thread::scope(|scope| {
            let work = &work;
            let all: Vec<_> = worlds.into_iter().map(|world| scope.spawn(move || work(Arc::new(world)))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        })
    }

    #[test]
    fn everything_comes_to_rank_0_and_back() {
        for n in 1..10 {
            let found = ranks(n, |world| {
                let own = vec![world.rank() as u8];
                let add = |own: &mut Vec<u8>, theirs: Vec<u8>| {
                    own.extend(theirs);
                    Ok(())
                };
                let all = world.gather(own, |own| own, add).unwrap();
                assert_eq!(all.is_some(), world.rank() == 0);
                world.spread(all.unwrap_or_default()).unwrap()
            });
            for mut all in found {
                all.sort_unstable();
                assert_eq!(all, (0..n as u8).collect::<Vec<_>>(), "{n} ranks");
            }
        }
    }
}
