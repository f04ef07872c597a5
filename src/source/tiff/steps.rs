//! Lists of numbers that mostly go up by equal steps, kept as runs: a million pages at equal distances take no
//! more memory than two.

/// Numbers in order, none of which is ever changed. Arithmetic wraps: any number may follow any other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    runs: Vec<Run>,
    len: u64,
}

/// Numbers that differ by equal steps.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    /// Index of the first of them.
    first: u64,
    value: u64,
    /// Meaningless while there is but one.
    step: u64,
}

impl Run {
    fn at(&self, index: u64) -> u64 {
        self.value.wrapping_add(self.step.wrapping_mul(index - self.first))
    }
}

impl Steps {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn push(&mut self, value: u64) {
        let index = self.len;
        self.len += 1;
        if let Some(run) = self.runs.last_mut() {
            if index - run.first == 1 {
                run.step = value.wrapping_sub(run.value);
            }
            if run.at(index) == value {
                return;
            }
        }
        self.runs.push(Run { first: index, value, step: 0 });
    }

    /// Number `index`.
    ///
    /// # Panics
    /// If there are not so many.
    pub(super) fn get(&self, index: u64) -> u64 {
        debug_assert!(index < self.len, "{index} of {}", self.len);
        self.runs[self.runs.partition_point(|run| run.first <= index) - 1].at(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let ends = self.runs.iter().skip(1).map(|run| run.first).chain([self.len]);
        self.runs.iter().zip(ends).flat_map(|(run, end)| (run.first..end).map(|index| run.at(index)))
    }

    pub(super) fn shrink(&mut self) {
        self.runs.shrink_to_fit();
    }

    pub(super) fn held_bytes(&self) -> u64 {
        (self.runs.capacity() * size_of::<Run>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_regular_ones_are_small() {
        let regular: Vec<u64> = (0..1000).map(|i| 70 + 13 * i).collect();
        let ragged: Vec<u64> = (0..1000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let falling: Vec<u64> = (0..1000).rev().chain([u64::MAX, 0, 0, 0, 7]).collect();
        for (numbers, most_runs) in [(&regular, 1), (&ragged, 1), (&falling, 4), (&regular[..1].to_vec(), 1)] {
            let mut steps = Steps::default();
            numbers.iter().for_each(|&n| steps.push(n));
            assert_eq!(steps.len(), numbers.len() as u64);
            assert!(steps.iter().eq(numbers.iter().copied()));
            assert!((0..steps.len()).map(|i| steps.get(i)).eq(numbers.iter().copied()));
            assert!(steps.runs.len() <= most_runs, "{} runs", steps.runs.len());
        }
        let mut steps = Steps::default();
        (0..1000u64).for_each(|i| steps.push(i * i * i));
        assert!(steps.iter().eq((0..1000).map(|i| i * i * i)));
        assert_eq!(steps.runs.len(), 500);
    }
}
