//! What an arrangement is made of: axes, positions with too many names, rows of the table of fields.

/// One axis of the grid that names fall on.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldAxis {
    /// `t`, `c`, or whatever the pattern calls it.
    pub name: String,
    /// The text of each position, in order.
    pub labels: Vec<String>,
    /// The value of each position in `unit`, where the names state one.
    pub coordinates: Option<Vec<f64>>,
    /// UDUNITS name of the coordinates' unit.
    pub unit: Option<String>,
    /// Distance of neighbouring coordinates, when they are evenly spaced.
    pub step: Option<f64>,
    /// Mean distance of neighbouring coordinates, evenly spaced or not.
    pub mean_step: Option<f64>,
    /// Whether blocks join end to end along it: its name is `z`, `y` or `x`.
    pub join: bool,
    /// Other values that go with each position.
    pub tied: Vec<Tied>,
    /// Positions that no name has, inserted because the numbers around them are evenly spaced.
    pub inserted: Vec<u32>,
}

impl FieldAxis {
    /// An axis of these positions.
    pub(super) fn new(name: &str, labels: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            labels,
            coordinates: None,
            unit: None,
            step: None,
            mean_step: None,
            join: matches!(name, "z" | "y" | "x"),
            tied: Vec::new(),
            inserted: Vec::new(),
        }
    }

    /// Number of positions.
    pub fn len(&self) -> u64 {
        self.labels.len() as u64
    }

    /// Whether it has no position.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Values that go with the positions of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tied {
    /// The field, as written in the pattern.
    pub field: String,
    /// Its text at each position; empty where no name has the position.
    pub labels: Vec<String>,
    /// UDUNITS name of its unit.
    pub unit: Option<String>,
}

/// A cell that several names claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Row-major index of the cell.
    pub cell: u64,
    /// Indices of the names, in natural order.
    pub names: Vec<u32>,
}

/// A coordinate that is not the same for every name of a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The field that gives the coordinate.
    pub field: String,
    /// The axis it should follow.
    pub axis: String,
    /// Number of positions with more than one value.
    pub positions: u64,
    /// Two names of one position that differ.
    pub names: [u32; 2],
}

/// What a part of the names turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It gives the positions of this axis.
    Axis(String),
    /// It gives coordinates to this axis.
    Coordinate(String),
    /// It is the same in every name.
    Constant,
    /// It varies, and goes with these axes.
    Follows(Vec<String>),
    /// It varies on its own and the pattern does not name it.
    Unaccounted,
}

/// One row of the table of fields.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldReport {
    /// The field's name, or the text around a part that is no field.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Number of different values.
    pub count: u64,
    /// Smallest value, as written.
    pub first: String,
    /// Largest value, as written.
    pub last: String,
    /// Distance of neighbouring numbers, when it is the same everywhere but for missing ones.
    pub step: Option<f64>,
    /// Unit as written in the pattern.
    pub unit: Option<String>,
    /// Numbers that an otherwise even series lacks, as runs: `17`, `20..25`; at most a hundred.
    pub missing: Vec<String>,
}
