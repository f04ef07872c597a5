//! Which page of which file covers which region of the array. Pure: knows headers, opens nothing.
//!
//! Every file is one box of the array. Along the axes that the names give, boxes stack (one index each) or
//! join end to end (`z`, `y`, `x`, and any other that the user says the pages are); all other axes come from inside
//! the files. Boxes along an axis may differ in length, but lie on one rectangular grid of cells.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::axis::{Axis, AxisKind, Calibration, Provenance, meant, position};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Grid, Region};
use crate::pattern::FieldAxis;
use crate::source::headers::{GroupedNote, Headers, describe, name_of};
use crate::source::{AbsentPlanes, Info, NoteKind, Set};
use crate::unit;

/// The file, and where in it, that covers a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePart {
    /// Index of the file.
    pub file: u32,
    /// Position along the file's first axis where the cell begins: a page, for members of a [`Set`].
    pub page: u32,
}

/// Where every file lies in one array.
#[derive(Clone, Debug)]
pub struct Layout {
    axes: Vec<Axis>,
    dtype: DType,
    /// Boundaries of the cells along every axis: one more than there are cells.
    cuts: Vec<Vec<u64>>,
    cells: Grid,
    /// Cell number and what covers it, sorted by cell.
    parts: Vec<(u64, FilePart)>,
    /// For every axis of a file, the axis of the array; `None` for axes of length 1 that the array leaves
    /// out.
    file_axes: Vec<Option<usize>>,
    /// Strip or tile of a file, in the array's axes.
    unit: Vec<u64>,
    coded: bool,
    /// Parts, by index, whose files lack planes, and which.
    lacking: Vec<(u32, Arc<AbsentPlanes>)>,
    /// Parts whose files have planes of which strips or tiles are lost.
    emptied: Vec<(u32, Arc<AbsentPlanes>)>,
    notes: Vec<GroupedNote>,
}

/// Planes next to each other that a file should hold and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Index of the file.
    pub file: u32,
    /// Where they lie in the array.
    pub region: Region,
    /// The axis along which they follow each other.
    pub axis: usize,
    /// How many they are.
    pub n_planes: u64,
}

/// How a layout is made where files and names leave a choice.
#[derive(Clone, Debug, Default)]
pub struct LayoutOptions {
    /// Names of the axes, slowest first; `t c z y x` with all others in front if `None`.
    pub axes: Option<Vec<String>>,
    /// Calibrations from the command line, by axis.
    pub calibrations: Vec<(String, Calibration)>,
    /// Axes of which one element will be chosen: an order need not name them, and they come first.
    pub chosen: Vec<String>,
    /// Whether the user says what the pages of a file are; along an axis of the names they then join end to end.
    pub pages: bool,
}

/// Default order of the axes; others come before them.
pub const ORDER: [&str; 6] = ["t", "c", "s", "z", "y", "x"];

impl Layout {
    /// Places files whose names were arranged on a grid: `placed` gives the row-major cell number over
    /// `fields` and the file in it. Without fields there is one cell.
    ///
    /// # Errors
    /// `Format` if files differ in dtype or shape where the grid does not allow it, naming the groups;
    /// `Usage` if an axis of the names is also one inside the files and nobody says that they join, if tiles overlap,
    /// or if `--axes` does not name the axes.
    pub fn arranged(
        fields: &[FieldAxis],
        placed: &[(u64, u32)],
        headers: &Headers,
        paths: &[PathBuf],
        options: &LayoutOptions,
    ) -> Result<Self> {
        let main = headers.main_kind().ok_or_else(|| Error::format("none of the files can be read"))?;
        check_dtypes(headers, paths)?;
        let info = &main.info;
        // A number that all names have alike says nothing of what is inside.
        let is_number = |label: &String| label.parse::<u64>().is_ok();
        let says = |f: &&FieldAxis| f.labels.len() > 1 || !f.tied.is_empty() || !f.labels.iter().all(is_number);
        for field in fields.iter().filter(|f| !f.join && !options.pages).filter(says) {
            if let Some(axis) = info.axes.iter().find(|a| a.name == field.name && a.length > 1) {
                return Err(Error::usage(format!(
                    "the names give axis {0}, but every file holds {1} {0} already (like {2}): if these follow one another \
                     from file to file say --pages {0}; otherwise call the field something else, or say with --pages what \
                     the pages of a file are",
                    axis.name,
                    axis.length,
                    name_of(&paths[main.first as usize])
                )));
            }
        }
        let (mut axes, mut notes) = combine(fields, &info.axes, options)?;
        let file_axes = map_axes(&info.axes, &axes)?;
        // Cells along every axis: those of the names, or one.
        let field_of: Vec<Option<usize>> = axes.iter().map(|a| fields.iter().position(|f| f.name == a.name)).collect();
        let counts: Vec<u64> = field_of.iter().map(|f| f.map_or(1, |f| fields[f].labels.len() as u64)).collect();
        let cells = Grid::new(&counts, &vec![1; counts.len()]);
        let field_counts: Vec<u64> = fields.iter().map(|f| f.labels.len() as u64).collect();
        let field_grid = Grid::new(&field_counts, &vec![1; field_counts.len()]);
        let mut parts: Vec<(u64, FilePart)> = placed
            .iter()
            .map(|&(cell, file)| {
                let at = field_grid.unravel(cell);
                let position: Vec<u64> = field_of.iter().map(|f| f.map_or(0, |f| at[f])).collect();
                (cells.ravel(&position), FilePart { file, page: 0 })
            })
            .collect();
        parts.sort_unstable_by_key(|p| p.0);
        let cuts = cut(&axes, &cells, &parts, &file_axes, headers, paths)?;
        for (axis, cuts) in axes.iter_mut().zip(&cuts) {
            let Some(field) = fields.iter().find(|f| f.name == axis.name) else { continue };
            if field.join {
                refuse_overlap(field, cuts)?;
            }
            notes.extend(place(axis, field, cuts).map(|text| GroupedNote::of_all(NoteKind::StepsDiffer, text)));
        }
        for (i, axis) in axes.iter_mut().enumerate().filter(|(i, _)| cells.counts()[*i] > 1) {
            if let Some(whole) = along(i, &cells, &parts, &file_axes, headers) {
                let said = axis.calibration.take().filter(|c| c.from == Provenance::CommandLine);
                *axis = said.into_iter().fold(whole, Axis::calibrated);
            }
        }
        let planes = |of: fn(&Info) -> &Option<Arc<AbsentPlanes>>| {
            let of_file = |file| headers.info(file).and_then(|info| of(info).clone());
            (0..).zip(&parts).filter_map(|(i, (_, part))| Some((i, of_file(part.file)?))).collect()
        };
        let (lacking, emptied) = (planes(|info| &info.absent), planes(|info| &info.emptied));
        Ok(Self { lacking, emptied, notes, ..Self::finish(axes, cuts, cells, parts, file_axes, info) })
    }

    /// Places the members of a data set that its files describe themselves.
    ///
    /// `members[i]` is the index of the file that `set.files[i]` names, if it is there.
    ///
    /// # Errors
    /// `Format` if pages differ in shape or dtype.
    pub fn of_set(
        set: &Set,
        members: &[Option<u32>],
        headers: &Headers,
        paths: &[PathBuf],
        options: &LayoutOptions,
    ) -> Result<Self> {
        let main = headers.main_kind().ok_or_else(|| Error::format("none of the files can be read"))?;
        check_dtypes(headers, paths)?;
        let info = &main.info;
        // Members are read page by page: their first axis counts pages and is no axis of the array.
        let page_axes = &info.axes[1..];
        let mut inside: Vec<Axis> = set.axes.iter().map(|(name, length)| Axis::new(name.clone(), *length)).collect();
        inside.extend(page_axes.iter().cloned());
        for axis in &mut inside {
            if let Some(known) = set.described.iter().find(|a| a.name == axis.name && a.length == axis.length) {
                *axis = known.clone();
            }
        }
        let (axes, notes) = combine(&[], &inside, options)?;
        let mut file_axes = vec![None];
        file_axes.extend(map_axes(page_axes, &axes)?);
        let counts: Vec<u64> =
            axes.iter().map(|a| set.axes.iter().find(|(n, _)| *n == a.name).map_or(1, |(_, length)| *length)).collect();
        let cells = Grid::new(&counts, &vec![1; counts.len()]);
        let set_counts: Vec<u64> = set.axes.iter().map(|(_, length)| *length).collect();
        let set_grid = Grid::new(&set_counts, &vec![1; set_counts.len()]);
        let mut parts = Vec::with_capacity(set.planes.len());
        for (plane, place) in set.planes.iter().enumerate() {
            let Some((member, page)) = *place else { continue };
            let Some(file) = members.get(member as usize).copied().flatten() else { continue };
            // A member that was cut short has fewer pages than the set says.
            if headers.info(file).is_none_or(|info| u64::from(page) >= info.axes[0].length) {
                continue;
            }
            let at = set_grid.unravel(plane as u64);
            let position: Vec<u64> =
                axes.iter().map(|a| set.axes.iter().position(|(n, _)| *n == a.name).map_or(0, |i| at[i])).collect();
            parts.push((cells.ravel(&position), FilePart { file, page }));
        }
        parts.sort_unstable_by_key(|p| p.0);
        let cuts = axes
            .iter()
            .zip(&counts)
            .map(|(a, &n)| if n == a.length { (0..=n).collect() } else { vec![0, a.length] })
            .collect();
        // Each part is one plane.
        let plane = Arc::new(AbsentPlanes { n_axes: 0, runs: std::iter::once(0..1).collect() });
        let planes = |of: fn(&Info) -> &Option<Arc<AbsentPlanes>>| {
            let is_one = |part: &FilePart| {
                let planes = headers.info(part.file).and_then(|info| of(info).as_ref());
                planes.is_some_and(|planes| planes.contains(u64::from(part.page)))
            };
            (0..).zip(&parts).filter(|(_, (_, part))| is_one(part)).map(|(i, _)| (i, Arc::clone(&plane))).collect()
        };
        let (lacking, emptied) = (planes(|info| &info.absent), planes(|info| &info.emptied));
        Ok(Self { lacking, emptied, notes, ..Self::finish(axes, cuts, cells, parts, file_axes, info) })
    }

    fn finish(
        mut axes: Vec<Axis>,
        cuts: Vec<Vec<u64>>,
        cells: Grid,
        parts: Vec<(u64, FilePart)>,
        file_axes: Vec<Option<usize>>,
        info: &Info,
    ) -> Self {
        for (axis, cut) in axes.iter_mut().zip(&cuts) {
            axis.length = *cut.last().expect("every axis has at least one cell, so two boundaries");
            // Names of indices inside one file do not stretch over joined files.
            axis.labels.take_if(|l| l.len() as u64 != axis.length);
            axis.colours.take_if(|c| c.len() as u64 != axis.length);
            axis.coordinates.take_if(|c| c.len() as u64 != axis.length);
            axis.settle();
        }
        let mut unit = vec![1; axes.len()];
        for (i, axis) in file_axes.iter().enumerate() {
            if let Some(axis) = axis {
                unit[*axis] = info.unit[i].max(1);
            }
        }
        let (lacking, emptied, notes) = (Vec::new(), Vec::new(), Vec::new());
        let (dtype, coded) = (info.dtype, info.coded);
        Self { axes, dtype, cuts, cells, parts, file_axes, unit, coded, lacking, emptied, notes }
    }

    /// Axes of the array.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// Axes of the array, to complete what files and names do not know.
    pub fn axes_mut(&mut self) -> &mut [Axis] {
        &mut self.axes
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// For every axis of a file, the axis of the array.
    pub fn file_axes(&self) -> &[Option<usize>] {
        &self.file_axes
    }

    /// Whether strips or tiles must be decoded whole.
    pub fn coded(&self) -> bool {
        self.coded
    }

    /// Strip or tile of a file, in the array's axes.
    pub fn unit(&self) -> &[u64] {
        &self.unit
    }

    /// Shape of the first file's box.
    pub fn first_cell(&self) -> Vec<u64> {
        self.cuts.iter().map(|c| c[1] - c[0]).collect()
    }

    /// Cells along every axis.
    pub fn cell_counts(&self) -> &[u64] {
        self.cells.counts()
    }

    /// Number of cells that a file covers.
    pub fn n_parts(&self) -> u64 {
        self.parts.len() as u64
    }

    /// Number of positions that no file covers: cells without a file, and planes that a file lacks.
    pub fn n_holes(&self) -> u64 {
        self.cells.len() - self.n_parts() + self.n_absent_planes()
    }

    /// Number of planes that files should hold and do not.
    pub fn n_absent_planes(&self) -> u64 {
        self.lacking.iter().map(|(_, absent)| absent.count()).sum()
    }

    /// Number of elements that no file covers, as far as headers tell.
    pub fn n_absent_elements(&self) -> u64 {
        let elements = |part: u32| self.region_of(part).n_elements();
        let covered: u64 = (0..self.parts.len() as u32).map(elements).sum();
        let absent = self.lacking.iter().map(|(part, absent)| {
            let leading: u64 = self.leading(*part, absent).iter().map(|l| l.1).product();
            elements(*part) / leading.max(1) * absent.count()
        });
        crate::grid::n_elements(&crate::axis::shape(&self.axes)) - covered + absent.sum::<u64>()
    }

    /// Positions of the cells that no file covers, in order.
    pub fn empty_cells(&self) -> impl Iterator<Item = Vec<u64>> {
        let mut parts = self.parts.iter().map(|p| p.0).peekable();
        let empty = (0..self.cells.len()).filter(move |cell| {
            while parts.next_if(|covered| covered < cell).is_some() {}
            parts.peek() != Some(cell)
        });
        empty.map(|cell| self.cells.unravel(cell))
    }

    /// The planes that files should hold and do not.
    pub fn lacks(&self) -> impl Iterator<Item = Lack> {
        self.runs(&self.lacking)
    }

    /// Runs of planes of which strips or tiles are lost.
    pub fn emptied(&self) -> impl Iterator<Item = Lack> {
        self.runs(&self.emptied)
    }

    fn runs<'a>(&'a self, of: &'a [(u32, Arc<AbsentPlanes>)]) -> impl Iterator<Item = Lack> + 'a {
        of.iter().flat_map(|(part, absent)| {
            let (file, cell) = (self.parts[*part as usize].1.file, self.region_of(*part));
            let leading = self.leading(*part, absent);
            // Runs end where the last axis of more than one begins again.
            let last = leading.iter().rposition(|l| l.1 > 1).unwrap_or(leading.len().saturating_sub(1));
            let length = leading.get(last).map_or(1, |l| l.1);
            let runs = absent.runs.iter().flat_map(move |run| rows(run.clone(), length));
            runs.map(move |run| {
                let (mut region, mut rest, n_planes) = (cell.clone(), run.start, run.end - run.start);
                for (axis, length) in leading.iter().rev() {
                    if let Some(axis) = axis {
                        region.origin[*axis] += rest % length;
                        region.shape[*axis] = 1;
                    }
                    rest /= length.max(&1);
                }
                let along = leading.get(last).and_then(|l| l.0);
                along.iter().for_each(|axis| region.shape[*axis] = n_planes);
                Lack { file, region, axis: along.unwrap_or(0), n_planes }
            })
        })
    }

    /// Which axes of the array the absent planes of a part are counted over, and how long they are in its file.
    fn leading(&self, part: u32, absent: &AbsentPlanes) -> Vec<(Option<usize>, u64)> {
        let cell = self.region_of(part);
        let axes = self.file_axes.iter().take(absent.n_axes);
        axes.map(|axis| (*axis, axis.map_or(1, |axis| cell.shape[axis]))).collect()
    }

    /// Box of the array that part number `part` covers.
    fn region_of(&self, part: u32) -> Region {
        self.cell_region(&self.cells.unravel(self.parts[part as usize].0))
    }

    /// What was left out of the array.
    pub fn notes(&self) -> &[GroupedNote] {
        &self.notes
    }

    /// An index of the array in words, `last` at the end: `t=1 c=0`, by the axes that files or their absent
    /// planes are counted over.
    pub fn position(&self, at: &[u64], last: Option<usize>) -> String {
        let listed = self.lacking.iter().chain(&self.emptied);
        let n_leading = listed.map(|(_, absent)| absent.n_axes).max().unwrap_or(0);
        let leading = |i: usize| self.file_axes.iter().take(n_leading).any(|axis| *axis == Some(i));
        let counted = |i: &usize| self.cells.counts()[*i] > 1 || (leading(*i) && self.axes[*i].length > 1);
        let others = (0..self.axes.len()).filter(|i| Some(*i) != last).chain(last);
        let words = others.filter(counted).map(|i| format!("{}={}", self.axes[i].name, at[i]));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Where absent planes lie, in words: `t=1 z=0 to 3`.
    pub fn run(&self, lack: &Lack) -> String {
        let origin = &lack.region.origin;
        match lack.n_planes {
            1 => self.position(origin, None),
            n => format!("{} to {}", self.position(origin, Some(lack.axis)), origin[lack.axis] + n - 1),
        }
    }

    /// Box of the array that the cell at `position` covers.
    pub fn cell_region(&self, position: &[u64]) -> Region {
        let origin: Vec<u64> = position.iter().zip(&self.cuts).map(|(&p, c)| c[p as usize]).collect();
        let shape = position.iter().zip(&self.cuts).map(|(&p, c)| c[p as usize + 1] - c[p as usize]).collect();
        Region { origin, shape }
    }

    /// What covers the cell at `position`.
    pub fn part(&self, position: &[u64]) -> Option<FilePart> {
        let cell = self.cells.ravel(position);
        let at = self.parts.binary_search_by_key(&cell, |p| p.0).ok()?;
        Some(self.parts[at].1)
    }

    /// Positions of the cells that share an element with `region`, in row-major order.
    pub fn overlapping(&self, region: &Region) -> impl Iterator<Item = Vec<u64>> + use<> {
        let first: Vec<u64> = (0..region.rank()).map(|i| self.cell_at(i, region.origin[i])).collect();
        let count: Vec<u64> = (0..region.rank())
            .map(|i| if region.is_empty() { 0 } else { self.cell_at(i, region.end(i) - 1) + 1 - first[i] })
            .collect();
        crate::grid::positions(&count).map(move |p| p.iter().zip(&first).map(|(a, b)| a + b).collect())
    }

    fn cell_at(&self, axis: usize, at: u64) -> u64 {
        (self.cuts[axis].partition_point(|&c| c <= at) as u64).saturating_sub(1).min(self.cells.counts()[axis] - 1)
    }

    /// The last boundary of strips, tiles or files at or before `at` along `axis`, and the first at or
    /// after it.
    pub fn boundaries(&self, axis: usize, at: u64) -> (u64, u64) {
        let end = self.axes[axis].length;
        if at >= end {
            return (end, end);
        }
        let cell = self.cell_at(axis, at) as usize;
        let (start, end) = (self.cuts[axis][cell], self.cuts[axis][cell + 1]);
        let (inside, unit) = (at - start, self.unit[axis]);
        (start + inside / unit * unit, (start + inside.div_ceil(unit) * unit).min(end))
    }
}

/// `run` cut where rows of `length` end.
fn rows(run: Range<u64>, length: u64) -> impl Iterator<Item = Range<u64>> {
    let mut start = run.start;
    std::iter::from_fn(move || {
        let end = run.end.min((start / length + 1).saturating_mul(length));
        let row = (start < end).then_some(start..end);
        start = end;
        row
    })
}

/// All axes, in their final order, with what names, files and the command line know of them, and what was
/// left out.
fn combine(fields: &[FieldAxis], inside: &[Axis], options: &LayoutOptions) -> Result<(Vec<Axis>, Vec<GroupedNote>)> {
    let mut notes = Vec::new();
    let mut axes: Vec<Axis> = Vec::new();
    for field in fields {
        let mut axis = Axis::new(&field.name, field.labels.len() as u64);
        if let Some(known) = inside.iter().find(|a| a.name == field.name) {
            axis.calibration.clone_from(&known.calibration);
            if known.length == 1 && field.coordinates.is_none() {
                axis.origin = known.origin;
            }
        }
        // An axis of the names and the pages joins end to end; labels and steps are then those of the files.
        let own = |a: &Axis| a.name == field.name && (a.length > 1 || a.coordinates.is_some());
        axis.labels = (!field.join && !inside.iter().any(own)).then(|| field.labels.clone());
        axes.push(axis);
    }
    for axis in inside {
        if !axes.iter().any(|a| a.name == axis.name) {
            axes.push(axis.clone());
        }
    }
    for name in crate::axis::USUAL {
        if position(&axes, name).is_none() {
            axes.push(Axis::new(name, 1));
        }
    }
    axes.sort_by_key(|a| ORDER.iter().position(|n| *n == a.name).map_or(0, |i| i + 1));
    for (name, calibration) in &options.calibrations {
        let at = position(&axes, name).ok_or_else(|| {
            Error::usage(format!("--voxel-size or --time-step: there is no axis {name}: the axes are {}", names(&axes)))
        })?;
        axes[at] = axes[at].clone().calibrated(calibration.clone());
    }
    if let Some(order) = &options.axes {
        let (mut ordered, all) = (Vec::new(), names(&axes));
        for name in order {
            let at = position(&axes, name).ok_or_else(|| {
                Error::usage(format!("--axes {}: there is no axis {name}: the axes are {all}", order.join(",")))
            })?;
            ordered.push(axes.remove(at));
            if order.iter().filter(|n| *n == name).count() > 1 {
                return Err(Error::usage(format!("--axes names {name} twice")));
            }
        }
        let is_chosen =
            |axis: &Axis| options.chosen.iter().any(|name| meant(std::slice::from_ref(axis), name).is_some());
        let (chosen, axes): (Vec<Axis>, Vec<Axis>) = axes.into_iter().partition(is_chosen);
        if let Some(lost) = axes.iter().find(|a| a.length != 1) {
            return Err(Error::usage(format!(
                "--axes leaves out {}, which has {} elements: name every axis of more than one",
                lost.name, lost.length
            )));
        }
        let known = |name: &str| fields.iter().any(|f| f.name == name) || position(inside, name).is_some();
        let dropped = axes.iter().filter(|axis| known(&axis.name));
        let told = |axis: &Axis| format!("axis {}, which has one element, is left out by --axes", axis.name);
        notes.extend(dropped.map(|axis| GroupedNote::of_all(NoteKind::AxesLeftOut, told(axis))));
        return Ok(([chosen, ordered].concat(), notes));
    }
    Ok((axes, notes))
}

fn names(axes: &[Axis]) -> String {
    axes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// For every axis of a file, the axis of the array.
fn map_axes(inside: &[Axis], axes: &[Axis]) -> Result<Vec<Option<usize>>> {
    inside
        .iter()
        .map(|a| match position(axes, &a.name) {
            None if a.length > 1 => Err(Error::usage(format!(
                "--axes leaves out {}, which has {} elements in every file: name it",
                a.name, a.length
            ))),
            at => Ok(at),
        })
        .collect()
}

/// Refuses files of different dtypes or numbers of axes.
fn check_dtypes(headers: &Headers, paths: &[PathBuf]) -> Result<()> {
    let Some(main) = headers.main_kind() else { return Ok(()) };
    let axes = |info: &Info| info.axes.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    for kind in &headers.kinds {
        let (a, b) = (&kind.info, &main.info);
        if a.dtype != b.dtype || axes(a) != axes(b) {
            return Err(Error::Format(mismatch(headers, paths)));
        }
        let (one, other) = (name_of(&paths[main.first as usize]), name_of(&paths[kind.first as usize]));
        if a.packing != b.packing {
            return Err(Error::Format(format!(
                "{one} and {other} are packed by scales of their own, so that equal numbers in them are different values: \
                 --unpack gives the values"
            )));
        }
        if a.calendar != b.calendar {
            let named = |calendar: &Option<String>| calendar.clone().unwrap_or_else(|| "none".to_owned());
            return Err(Error::Format(format!(
                "the dates of {one} are of calendar {}, those of {other} of calendar {}: they are on no common axis",
                named(&b.calendar),
                named(&a.calendar)
            )));
        }
    }
    Ok(())
}

/// Says which files look how: `3 files (180, 1024, 768) uint16, the first is ..; 594 files ..`.
pub fn mismatch(headers: &Headers, paths: &[PathBuf]) -> String {
    let mut kinds: Vec<_> = headers.kinds.iter().collect();
    kinds.sort_by_key(|k| k.n_files);
    let mut lines = vec!["the files do not fit into one array:".to_string()];
    let shown = 6;
    for kind in kinds.iter().take(shown) {
        let files = if kind.n_files == 1 { "file" } else { "files" };
        lines.push(format!(
            "  {:>6} {files:5} {}, like {}",
            kind.n_files,
            describe(&kind.info),
            name_of(&paths[kind.first as usize])
        ));
    }
    if kinds.len() > shown {
        lines.push(format!("  and {} more kinds", kinds.len() - shown));
    }
    lines.push("leave files out with --exclude, or choose some with --include".into());
    lines.join("\n")
}

/// Refuses tiles whose numbers are positions in pixels nearer to each other than the tiles are long.
fn refuse_overlap(field: &FieldAxis, cuts: &[u64]) -> Result<()> {
    let numbers: Option<Vec<i64>> = field.labels.iter().map(|l| l.parse().ok()).collect();
    let Some(numbers) = numbers.filter(|_| field.coordinates.is_none()) else { return Ok(()) };
    for (pair, cut) in numbers.windows(2).zip(cuts.windows(2)) {
        let (apart, length) = (pair[1].abs_diff(pair[0]), cut[1] - cut[0]);
        if apart > 1 && apart < length && 2 * apart >= length {
            return Err(Error::usage(format!(
                "the tiles at {name} {} and {} lie {apart} apart and are {length} long, so they overlap by {}: mosaics that \
                 overlap cannot be made yet; if the numbers are no positions in pixels, give the field another name than \
                 {name}, such as {{tile}}",
                pair[0],
                pair[1],
                length - apart,
                name = field.name
            )));
        }
    }
    Ok(())
}

/// Puts `axis` where the names say that its blocks lie, the first elements of them if they have more than one. Gives what better
/// sources say otherwise.
fn place(axis: &mut Axis, field: &FieldAxis, cuts: &[u64]) -> Option<String> {
    let places = field.coordinates.as_ref()?;
    let (name, from) = (&field.name, Provenance::Name);
    if axis.kind == AxisKind::Channel {
        // Wavelengths are in nanometres everywhere.
        let factor = field.unit.as_deref().and_then(|unit| unit::ratio(unit, "nanometer")).unwrap_or(1.0);
        axis.coordinates = Some(places.iter().map(|place| place * factor).collect());
        return None;
    }
    let said = axis.calibration.clone();
    if cuts.windows(2).all(|cut| cut[1] - cut[0] == 1) {
        let step = field.step.or(field.mean_step).unwrap_or(0.0);
        let named = Calibration { step, unit: field.unit.clone(), from };
        (axis.calibration, axis.coordinates) = (Some(named.clone()), Some(places.clone()));
        // One place has a unit, but no step.
        if places.len() > 1 {
            axis.settle();
        }
        let said = said?;
        *axis = axis.clone().calibrated(said.clone());
        let is_silent = said.from == Provenance::CommandLine || places.len() == 1 || axis.coordinates.is_some();
        let (step, other, of) = (unit::words(&said), unit::words(&named), said.from.words());
        return (!is_silent && !unit::agree(&said, &named))
            .then(|| format!("{name}: a step of {step} is taken from {of}, the names say {other}"));
    }
    let ratio = said.as_ref().and_then(|said| unit::ratio(field.unit.as_deref()?, said.unit.as_deref()?));
    let (Some(said), Some(ratio)) = (said, ratio) else {
        return Some(format!(
            "{name}: the names say where blocks of elements lie, which is not kept, since nothing says how long an element is: \
             --voxel-size and --time-step do"
        ));
    };
    axis.origin = places.first()? * ratio;
    let words = |step: f64| unit::words(&Calibration { step, ..said.clone() });
    let step = said.step.abs();
    places.windows(2).zip(cuts.windows(2)).find_map(|(pair, cut)| {
        let (n, apart) = (cut[1] - cut[0], (pair[1] - pair[0]).abs() * ratio);
        let (length, more) = (n as f64 * step, apart - n as f64 * step);
        let how = if more < 0.0 { "overlap by" } else { "leave a gap of" };
        let told = || {
            format!(
                "{name}: by the names blocks lie {} apart, but {n} elements of {} are {} long, so that they {how} {}; they are \
                 joined end to end from the first one on",
                words(apart),
                words(step),
                words(length),
                words(more.abs())
            )
        };
        (more.abs() > 0.5 * step).then(told)
    })
}

/// Axis number `axis` of the array, put together of those of the files that lie along it, where all say where they are.
fn along(
    axis: usize,
    cells: &Grid,
    parts: &[(u64, FilePart)],
    file_axes: &[Option<usize>],
    headers: &Headers,
) -> Option<Axis> {
    let inside = file_axes.iter().position(|a| *a == Some(axis))?;
    let mut pieces: Vec<Option<&Axis>> = vec![None; cells.counts()[axis] as usize];
    for (cell, part) in parts {
        pieces[cells.unravel(*cell)[axis] as usize] =
            headers.axis(part.file, inside).filter(|own| own.coordinates.is_some());
    }
    let pieces = pieces.into_iter().collect::<Option<Vec<&Axis>>>()?;
    Some(crate::axis::joined(&pieces))
}

/// Boundaries of the cells along every axis, checked against every file.
fn cut(
    axes: &[Axis],
    cells: &Grid,
    parts: &[(u64, FilePart)],
    file_axes: &[Option<usize>],
    headers: &Headers,
    paths: &[PathBuf],
) -> Result<Vec<Vec<u64>>> {
    // Length of the cells along every axis, by index; known once a file was seen there.
    let mut lengths: Vec<Vec<Option<(u64, u32)>>> = cells.counts().iter().map(|&n| vec![None; n as usize]).collect();
    let differ = |axis: usize, at: u64, a: (u64, u32), b: (u64, u32)| {
        let place =
            if cells.counts()[axis] > 1 { format!(" where {} is {at}", axes[axis].name) } else { String::new() };
        Error::Format(format!(
            "{} has {} elements along {}, but {} has {}{place}; {}",
            name_of(&paths[b.1 as usize]),
            b.0,
            axes[axis].name,
            name_of(&paths[a.1 as usize]),
            a.0,
            mismatch(headers, paths)
        ))
    };
    for &(cell, part) in parts {
        let at = cells.unravel(cell);
        let Some(info) = headers.info(part.file) else { continue };
        for axis in 0..axes.len() {
            let inside = file_axes.iter().position(|a| *a == Some(axis));
            let length = inside.map_or(1, |i| info.axes[i].length);
            let known = &mut lengths[axis][at[axis] as usize];
            match known {
                None => *known = Some((length, part.file)),
                Some(first) if first.0 != length => {
                    return Err(differ(axis, at[axis], *first, (length, part.file)));
                }
                Some(_) => {}
            }
        }
    }
    lengths
        .iter()
        .enumerate()
        .map(|(axis, lengths)| {
            // Where every file is missing, the block is as long as all others are, if they agree.
            let mut known = lengths.iter().flatten().map(|(length, _)| *length);
            let first = known.next();
            let common = first.filter(|first| known.all(|length| length == *first));
            let mut cuts = vec![0u64];
            for (at, length) in lengths.iter().enumerate() {
                let length = length.map(|(length, _)| length).or(common).ok_or_else(|| {
                    Error::Format(format!(
                        "no file says how long block {at} along {} is, since all of its files are missing and the other \
                         blocks differ in length",
                        axes[axis].name
                    ))
                })?;
                let end = cuts[at].checked_add(length).ok_or_else(|| Error::format("the array is longer than 2^64"))?;
                cuts.push(end);
            }
            Ok(cuts)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::headers::FileKind;

    fn info(axes: &[(&str, u64)], unit: &[u64]) -> Info {
        let axes = axes.iter().map(|(name, length)| Axis::new(*name, *length)).collect();
        Info { unit: unit.to_vec(), coded: true, storage: "LZW".into(), ..Info::of(axes, DType::Uint16) }
    }

    /// Headers of one file per entry.
    fn headers(infos: &[Info]) -> (Headers, Vec<PathBuf>) {
        let mut headers = Headers::default();
        for (file, info) in infos.iter().enumerate() {
            match headers.kinds.iter_mut().position(|k| k.info == *info) {
                Some(kind) => {
                    headers.kinds[kind].n_files += 1;
                    headers.kind_of.push(Some(kind as u32));
                }
                None => {
                    headers.kind_of.push(Some(headers.kinds.len() as u32));
                    headers.kinds.push(FileKind { info: info.clone(), first: file as u32, n_files: 1 });
                }
            }
        }
        (headers, (0..infos.len()).map(|i| format!("raw/file{i}.tif").into()).collect())
    }

    fn field(name: &str, n: usize) -> FieldAxis {
        FieldAxis {
            name: name.into(),
            labels: (0..n).map(|i| i.to_string()).collect(),
            coordinates: None,
            unit: None,
            step: None,
            mean_step: None,
            join: ["z", "y", "x"].contains(&name),
            tied: Vec::new(),
            inserted: Vec::new(),
        }
    }

    fn lay(fields: &[FieldAxis], infos: &[Info], options: &LayoutOptions) -> Result<Layout> {
        let (headers, paths) = headers(infos);
        let placed: Vec<(u64, u32)> = (0..infos.len() as u64).map(|i| (i, i as u32)).collect();
        Layout::arranged(fields, &placed, &headers, &paths, options)
    }

    #[test]
    fn files_stack_along_named_axes_in_the_default_order() {
        let one = info(&[("z", 5), ("y", 7), ("x", 9)], &[1, 3, 9]);
        let layout =
            lay(&[field("p", 2), field("c", 2), field("t", 3)], &vec![one; 12], &LayoutOptions::default()).unwrap();
        assert_eq!(names(layout.axes()), "p, t, c, z, y, x");
        assert_eq!(crate::axis::shape(layout.axes()), [2, 3, 2, 5, 7, 9]);
        assert_eq!(layout.unit(), [1, 1, 1, 1, 3, 9]);
        // File 4 is p=0, c=1, t=1.
        assert_eq!(layout.part(&[0, 1, 1, 0, 0, 0]).unwrap().file, 4);
        assert_eq!(layout.cell_region(&[0, 1, 1, 0, 0, 0]), Region::new([0, 1, 1, 0, 0, 0], [1, 1, 1, 5, 7, 9]));
        assert_eq!(layout.n_holes(), 0);
    }

    #[test]
    fn places_are_told_in_the_unit_of_the_step() {
        let step = |step, unit: &str| Calibration { step, unit: Some(unit.into()), from: Provenance::ImageJ };
        let mut one = info(&[("t", 1), ("y", 7), ("x", 9)], &[1, 7, 9]);
        one.axes[0].calibration = Some(step(2.5, "second"));
        one.axes[2].calibration = Some(step(0.5, "micrometer"));
        one.axes[2].origin = 3.0;
        let (coordinates, unit) = (Some(vec![0.0, 2500.0, 7500.0]), Some("millisecond".into()));
        let t = FieldAxis { coordinates, unit, mean_step: Some(3750.0), ..field("t", 3) };
        let asked = Calibration { from: Provenance::CommandLine, ..step(250.0, "nanometer") };
        let options = LayoutOptions { calibrations: vec![("x".into(), asked)], ..LayoutOptions::default() };
        let layout = lay(&[t], &vec![one; 3], &options).unwrap();
        let axis = |name: &str| &layout.axes()[position(layout.axes(), name).unwrap()];
        assert_eq!(axis("t").calibration.as_ref().unwrap().unit.as_deref(), Some("second"));
        assert!((axis("t").coordinate(2) - 7.5).abs() < 1e-9 && (axis("x").coordinate(1) - 3250.0).abs() < 1e-9);
    }

    #[test]
    fn blocks_of_unequal_size_join_where_the_grid_stays_rectangular() {
        let tile = |y, x| info(&[("y", y), ("x", x)], &[2, x]);
        let tiles = [tile(4, 6), tile(4, 5), tile(3, 6), tile(3, 5)];
        let layout = lay(&[field("y", 2), field("x", 2)], &tiles, &LayoutOptions::default()).unwrap();
        assert_eq!(crate::axis::shape(layout.axes()), [1, 1, 1, 7, 11]);
        let region = Region::new([0, 0, 0, 3, 5], [1, 1, 1, 2, 2]);
        assert_eq!(layout.overlapping(&region).count(), 4);
        // Strips begin anew in every file.
        assert_eq!(layout.boundaries(3, 3), (2, 4));
        assert_eq!(layout.boundaries(3, 5), (4, 6));
        assert_eq!(layout.boundaries(3, 7), (7, 7));

        let odd = [tile(4, 6), tile(4, 5), tile(3, 6), tile(3, 4)];
        let error = lay(&[field("y", 2), field("x", 2)], &odd, &LayoutOptions::default()).unwrap_err().to_string();
        assert!(error.contains("file3.tif has 4 elements along x") && error.contains("where x is 1"), "{error}");
    }

    #[test]
    fn an_axis_of_names_and_files_joins_end_to_end() {
        let unsaid = LayoutOptions::default();
        let said = LayoutOptions { pages: true, ..LayoutOptions::default() };
        for (name, at) in [("t", 0), ("c", 1), ("z", 2)] {
            let part = |n| info(&[(name, n), ("y", 2), ("x", 2)], &[1, 2, 2]);
            let lay = |options| lay(&[field(name, 3)], &[part(4), part(4), part(3)], options);
            assert!(name == "z" || lay(&unsaid).unwrap_err().to_string().contains("--pages"));
            let layout = lay(&said).unwrap();
            assert_eq!(layout.axes()[at].length, 11);
            assert!(layout.axes()[at].labels.is_none());
        }
        // The only value of a field is no second axis.
        let rgb = info(&[("c", 3), ("y", 2), ("x", 2)], &[1, 2, 2]);
        assert_eq!(lay(&[field("c", 1)], &[rgb], &unsaid).unwrap().axes()[1].length, 3);
    }

    #[test]
    fn names_in_units_place_slices_and_tiles() {
        let lay = |name: &str, places: &[f64], file: &[(&str, u64)], said: Option<(f64, &str)>| {
            let mean_step = Some(crate::axis::mean_step(places).0);
            let (coordinates, unit) = (Some(places.to_vec()), Some("micrometer".to_owned()));
            let own = FieldAxis { coordinates, unit, mean_step, ..field(name, places.len()) };
            let calibration = |(step, unit): (f64, &str)| {
                (name.to_owned(), Calibration { step, unit: Some(unit.into()), from: Provenance::CommandLine })
            };
            let options =
                LayoutOptions { calibrations: said.map(calibration).into_iter().collect(), ..Default::default() };
            let shape: Vec<u64> = file.iter().map(|axis| axis.1).collect();
            let layout = lay(&[own], &vec![info(file, &shape); places.len()], &options).unwrap();
            let axis = layout.axes()[position(layout.axes(), name).unwrap()].clone();
            (axis, layout.notes().iter().map(|note| note.text.clone()).collect::<Vec<_>>())
        };
        let step = |axis: &Axis| axis.calibration.as_ref().map(|c| (c.step, c.unit.clone().unwrap_or_default()));
        let (plane, tile) = ([("y", 4), ("x", 5)], [("y", 4), ("x", 10)]);
        let (z, notes) = lay("z", &[10.0, 20.0, 30.0], &plane, None);
        assert_eq!((step(&z), z.origin, notes.len()), (Some((10.0, "micrometer".into())), 10.0, 0));
        let (z, _) = lay("z", &[10.0, 20.0, 35.0], &plane, None);
        assert_eq!((step(&z).unwrap().0, z.coordinates), (10.0, Some(vec![10.0, 20.0, 35.0])));
        let (z, notes) = lay("z", &[10.0, 20.0, 35.0], &plane, Some((500.0, "nanometer")));
        assert_eq!((step(&z).unwrap().0, z.origin, z.coordinates, notes.len()), (500.0, 1e4, None, 0));
        // Tiles of ten elements of a micrometer.
        let (x, notes) = lay("x", &[100.0, 110.0, 120.0], &tile, Some((1.0, "micrometer")));
        assert_eq!((x.length, x.origin, notes.len()), (30, 100.0, 0));
        let (x, notes) = lay("x", &[100.0, 108.0, 116.0], &tile, Some((1000.0, "nanometer")));
        assert_eq!((x.origin, notes.len()), (1e5, 1));
        assert!(
            notes[0].contains("8 µm apart") && notes[0].contains("10 µm long") && notes[0].contains("by 2 µm"),
            "{notes:?}"
        );
        let (x, notes) = lay("x", &[100.0, 108.0, 116.0], &tile, None);
        assert!(step(&x).is_none() && x.origin == 0.0 && notes[0].contains("--voxel-size"), "{notes:?}");
    }

    #[test]
    fn tiles_that_overlap_are_refused() {
        let tile = info(&[("y", 60), ("x", 1100)], &[1, 1100]);
        let at = |step: usize| FieldAxis { labels: (0..3).map(|i| (i * step).to_string()).collect(), ..field("x", 3) };
        let lay = |step| lay(&[at(step)], &vec![tile.clone(); 3], &LayoutOptions::default());
        let error = lay(1024).unwrap_err().to_string();
        assert!(error.contains("overlap by 76"), "{error}");
        for step in [1, 2, 1100, 2200] {
            assert_eq!(lay(step).unwrap().axes()[4].length, 3300, "{step}");
        }
    }

    #[test]
    fn a_hole_that_nobody_measures_is_as_long_as_the_others() {
        let deep = |z| info(&[("z", z), ("y", 2), ("x", 2)], &[1, 2, 2]);
        let lay = |name: &str, infos: &[Info]| {
            let (headers, paths) = headers(infos);
            let placed: Vec<(u64, u32)> = (0..infos.len() as u32).map(|i| (u64::from(i) + 1, i)).collect();
            let fields = [field(name, infos.len() + 1)];
            Layout::arranged(&fields, &placed, &headers, &paths, &LayoutOptions::default())
        };
        assert_eq!(lay("t", &[deep(4)]).unwrap().n_holes(), 1);
        assert_eq!(lay("z", &[deep(4), deep(4)]).unwrap().axes()[2].length, 12);
        let error = lay("z", &[deep(4), deep(3)]).unwrap_err().to_string();
        assert!(error.contains("no file says how long block 0 along z is"), "{error}");
    }

    #[test]
    fn members_of_a_set_are_placed_page_by_page() {
        let set = Set {
            id: "a".into(),
            axes: vec![("t".into(), 2), ("z".into(), 2)],
            planes: vec![Some((0, 1)), Some((0, 0)), None, Some((1, 0))],
            files: vec!["a".into(), "b".into()],
            described: vec![Axis::new("t", 2), Axis::new("z", 2), Axis::new("y", 3), Axis::new("x", 4)],
            elsewhere: false,
        };
        let page = info(&[("z", 2), ("y", 3), ("x", 4)], &[1, 3, 4]);
        let (headers, paths) = headers(&[page]);
        let layout = Layout::of_set(&set, &[Some(0), None], &headers, &paths, &LayoutOptions::default()).unwrap();
        assert_eq!(crate::axis::shape(layout.axes()), [2, 1, 2, 3, 4]);
        assert_eq!(layout.part(&[0, 0, 0, 0, 0]), Some(FilePart { file: 0, page: 1 }));
        assert_eq!(layout.part(&[0, 0, 1, 0, 0]), Some(FilePart { file: 0, page: 0 }));
        // One plane has no page, the other no file.
        assert_eq!(layout.n_holes(), 2);
        assert_eq!(layout.empty_cells().collect::<Vec<_>>(), [[1, 0, 0, 0, 0], [1, 0, 1, 0, 0]]);
    }

    #[test]
    fn pages_that_members_of_a_set_lack_are_holes() {
        let set = Set {
            id: "a".into(),
            axes: vec![("t".into(), 4)],
            planes: (0..4).map(|page| Some((0, page))).collect(),
            files: vec!["a".into()],
            described: vec![Axis::new("t", 4), Axis::new("y", 3), Axis::new("x", 4)],
            elsewhere: false,
        };
        // Three pages where four are named, and the second is of another shape.
        let mut page = info(&[("page", 3), ("y", 3), ("x", 4)], &[1, 3, 4]);
        page.absent = AbsentPlanes::new(1, [true, false, true].into_iter()).map(Arc::new);
        let (headers, paths) = headers(&[page]);
        let layout = Layout::of_set(&set, &[Some(0)], &headers, &paths, &LayoutOptions::default()).unwrap();
        assert_eq!((layout.n_holes(), layout.n_absent_planes(), layout.n_absent_elements()), (2, 1, 24));
        let found: Vec<String> = layout.lacks().map(|l| layout.position(&l.region.origin, Some(l.axis))).collect();
        assert_eq!(found, ["t=1"]);
        assert_eq!(layout.empty_cells().collect::<Vec<_>>(), [[3, 0, 0, 0, 0]]);
    }

    #[test]
    fn planes_that_files_lack_are_holes_at_their_positions() {
        let file = |z, absent: &[u64]| {
            let mut info = info(&[("t", 2), ("z", z), ("y", 4), ("x", 5)], &[1, 1, 4, 5]);
            info.absent = AbsentPlanes::new(2, (0..2 * z).map(|plane| !absent.contains(&plane))).map(Arc::new);
            info
        };
        // Files join along z; the second lacks the last plane of its first time point and all of the second.
        let files = [file(2, &[]), file(3, &[2, 3, 4, 5]), file(1, &[1])];
        let layout = lay(&[field("z", 3)], &files, &LayoutOptions::default()).unwrap();
        assert_eq!((layout.n_holes(), layout.n_absent_planes(), layout.n_absent_elements()), (5, 5, 100));
        let found: Vec<(u32, String, u64)> =
            layout.lacks().map(|l| (l.file, layout.position(&l.region.origin, None), l.n_planes)).collect();
        let expected = [(1, "t=0 z=4", 1), (1, "t=1 z=2", 3), (2, "t=1 z=5", 1)];
        assert_eq!(found, expected.map(|(file, place, n)| (file, place.to_owned(), n)));
        // A gap among the names counts beside them.
        let (headers, paths) = headers(&files[1..2]);
        let gap = Layout::arranged(&[field("p", 2)], &[(1, 0)], &headers, &paths, &LayoutOptions::default()).unwrap();
        assert_eq!((gap.n_holes(), gap.n_absent_planes(), gap.n_absent_elements()), (5, 4, 120 + 80));
        assert_eq!(gap.empty_cells().collect::<Vec<_>>(), [[0; 6]]);
    }

    #[test]
    fn axes_that_the_order_leaves_out_are_told_of() {
        let one = info(&[("c", 1), ("y", 7), ("x", 9)], &[1, 7, 9]);
        let options = LayoutOptions { axes: Some(vec!["y".into(), "x".into()]), ..LayoutOptions::default() };
        let layout = lay(&[field("p", 1)], std::slice::from_ref(&one), &options).unwrap();
        let notes = [
            "axis p, which has one element, is left out by --axes",
            "axis c, which has one element, is left out by --axes",
        ];
        assert_eq!(layout.notes().iter().map(|note| &note.text).collect::<Vec<_>>(), notes);
        // Of one that has more than one element, one may be chosen later.
        let options = LayoutOptions { chosen: vec!["p".into()], ..options };
        let layout = lay(&[field("p", 2)], &[one.clone(), one], &options).unwrap();
        assert_eq!(names(layout.axes()), "p, y, x");
    }

    #[test]
    fn the_order_of_axes_is_the_users() {
        let one = info(&[("y", 7), ("x", 9), ("c", 3)], &[7, 9, 3]);
        let order = |text: &str| LayoutOptions {
            axes: Some(text.split(',').map(String::from).collect()),
            ..LayoutOptions::default()
        };
        let layout = lay(&[], std::slice::from_ref(&one), &order("x,y,c")).unwrap();
        assert_eq!(crate::axis::shape(layout.axes()), [9, 7, 3]);
        assert_eq!(layout.file_axes(), [Some(1), Some(0), Some(2)]);
        for wrong in ["x,y", "x,y,c,q", "x,x,y,c"] {
            assert_eq!(lay(&[], std::slice::from_ref(&one), &order(wrong)).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
