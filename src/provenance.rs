//! What an output says of its origin: the program and its settings, every input with size, time and digest, and what
//! was read of them. Plain data, without files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::block::Portion;
use crate::digest;
use crate::error::{Error, Result};

/// A file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Where it is: relative to the folder that the output stands in if it lies there, else absolute.
    pub path: String,
    /// Its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// When it was changed last, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_unix_s: Option<u64>,
    /// Elements of the array in it.
    #[serde(skip)]
    pub n_elements: u64,
    /// [`digest`] of that array, in the order of the file's own axes, if all of it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc64nvme: Option<String>,
    /// What it says of its own origin.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub provenance: Value,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Elements that nothing covers.
    pub n_absent: u64,
    /// Of every file, if asked for.
    shares: BTreeMap<u32, (u64, u64)>,
    /// What could not be read, so far as no account before has it.
    pub losses: Vec<String>,
}

/// The inputs of a run, and the account of what it and those before it have read of them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    inputs: Arc<Vec<Input>>,
    totals: Arc<Mutex<Totals>>,
}

#[derive(Debug, Default)]
struct Totals {
    n_absent: u64,
    element_bytes: u64,
    /// Sum and elements of every file.
    shares: Vec<(u64, u64)>,
}

impl Account {
    /// Adds a part of a file.
    pub fn read(&mut self, portion: &Portion) {
        let (sum, n_elements) = self.shares.entry(portion.file).or_default();
        *sum ^= portion.sum;
        *n_elements += portion.n_elements;
    }

    /// Adds what `other` says.
    pub fn add(&mut self, other: &Self) {
        self.n_absent += other.n_absent;
        let portions = other.shares.iter().map(|(&file, &(sum, n_elements))| Portion { file, sum, n_elements });
        portions.for_each(|portion| self.read(&portion));
        self.losses.extend_from_slice(&other.losses);
    }

    /// As it is recorded.
    pub fn to_json(&self) -> Value {
        let shares = self.shares.iter().map(|(file, (sum, n_elements))| json!([file, sum, n_elements]));
        json!([self.n_absent, shares.collect::<Vec<_>>(), self.losses])
    }

    /// As it was recorded; nothing if it was not.
    ///
    /// # Errors
    /// `Format` if it is something else.
    pub fn from_json(value: &Value) -> Result<Self> {
        if value.is_null() {
            return Ok(Self::default());
        }
        let (n_absent, shares, losses): (u64, Vec<(u32, u64, u64)>, _) = serde_json::from_value(value.clone())
            .map_err(|e| Error::format(format!("the journal holds no account of what was read: {e}")))?;
        let shares = shares.into_iter().map(|(file, sum, n_elements)| (file, (sum, n_elements))).collect();
        Ok(Self { n_absent, shares, losses })
    }
}

impl Ledger {
    /// Of a run that reads `inputs`, which are numbered in this order.
    pub fn of(inputs: Vec<Input>) -> Self {
        // All at once: what grows while blocks come and go would keep memory between them.
        let totals = Totals { shares: vec![(0, 0); inputs.len()], ..Totals::default() };
        Self { inputs: Arc::new(inputs), totals: Arc::new(Mutex::new(totals)) }
    }

    /// Begins anew, with elements of so many bytes.
    pub(crate) fn begin(&self, element_bytes: u64) {
        let mut totals = self.lock();
        (totals.n_absent, totals.element_bytes) = (0, element_bytes);
        totals.shares.fill((0, 0));
    }

    /// Adds what was read.
    pub(crate) fn add(&self, account: &Account) {
        let mut totals = self.lock();
        totals.n_absent += account.n_absent;
        for (file, (sum, n_elements)) in &account.shares {
            if let Some(total) = totals.shares.get_mut(*file as usize) {
                total.0 ^= sum;
                total.1 += n_elements;
            }
        }
    }

    /// What was read so far.
    pub(crate) fn account(&self) -> Account {
        let totals = self.lock();
        let read = (0..).zip(&totals.shares).filter(|(_, share)| **share != (0, 0));
        Account {
            n_absent: totals.n_absent,
            shares: read.map(|(file, share)| (file, *share)).collect(),
            losses: Vec::new(),
        }
    }

    /// Elements read that nothing covers.
    pub fn n_absent(&self) -> u64 {
        self.lock().n_absent
    }

    /// Number of inputs.
    pub fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Every input, with the digest of its array where each element of it was read once.
    pub fn inputs(&self) -> impl Iterator<Item = Input> + '_ {
        // Most are of one length.
        let mut nothing = (0, digest::whole(0, 0));
        self.inputs.iter().enumerate().map(move |(file, input)| {
            let crc64nvme = self.read_whole(file, input.n_elements).map(|(sum, n_bytes)| {
                if nothing.0 != n_bytes {
                    nothing = (n_bytes, digest::whole(0, n_bytes));
                }
                digest::text(sum ^ nothing.1)
            });
            Input { crc64nvme, ..input.clone() }
        })
    }

    /// Of an input each of whose `n_elements` was read once the sum of its parts, and its bytes.
    fn read_whole(&self, file: usize, n_elements: u64) -> Option<(u64, u64)> {
        let totals = self.lock();
        let (sum, n_read) = totals.shares[file];
        (n_read > 0 && n_read == n_elements).then_some((sum, n_elements * totals.element_bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the accounts of `units`, each once, as `records` shows them.
pub(crate) struct Recalled<'a> {
    /// Units that count.
    pub(crate) units: &'a BTreeSet<u64>,
    /// Those that were seen.
    pub(crate) seen: BTreeSet<u64>,
}

impl Recalled<'_> {
    /// Takes a record of `unit`; gives what could not be read of it.
    pub(crate) fn take(&mut self, unit: u64, account: &Value, ledger: &Ledger) -> Result<Vec<String>> {
        if !self.units.contains(&unit) || !self.seen.insert(unit) {
            return Ok(Vec::new());
        }
        let account = Account::from_json(account)?;
        ledger.add(&account);
        Ok(account.losses)
    }
}
