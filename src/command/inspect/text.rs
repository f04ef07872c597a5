//! The report as a tired person reads it: the answer first, faults where the eye falls, the next command last.

use std::io::IsTerminal;

use super::findings::*;
use super::next::shell_lines;
use crate::axis::Calibration;
use crate::command::voice;
use crate::draw::table::Table;
use crate::draw::{fitted, shortened, wrapped};
use crate::exec::budget::Bytes;
use crate::grid::{Grid, n_elements};
use crate::open::{Obstacle, ObstacleKind};
use crate::report::{count, tuple};
use crate::source::headers::GroupedNote;
use crate::unit;

/// Levels of multiscale images that are shown.
const MOST_LEVELS: usize = 32;

/// Colours, or none, and how wide lines are.
#[derive(Clone, Copy)]
pub(super) struct Style {
    colour: bool,
    width: usize,
}

impl Style {
    /// Colours if standard output is a terminal and nobody asks for none; its width.
    pub(super) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self { colour: !unwanted && !dumb && std::io::stdout().is_terminal(), width: voice::width() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn error(self) -> String {
        self.paint("1;31", "error:")
    }

    fn warning(self) -> String {
        self.paint("1;33", "warning:")
    }
}

/// All arrays; with `by` a table of them comes first, and of arrays without faults only the first is shown
/// in full.
pub(super) fn render(arrays: &[Findings], by: Option<&str>, style: Style) -> String {
    let mut out = String::new();
    let Some(field) = by else {
        arrays.iter().for_each(|a| one(a, style, &mut out));
        return out;
    };
    out += &style.bold(&format!("{} by {field}, {}", count(arrays.len() as u64, "array"), files_of(arrays)));
    out += "\n\n";
    let mut table = Table::default();
    table.row([field, "files", "size", "faults", "shape"]);
    for found in arrays {
        let faults = found.faults.len();
        table.row([
            found.value.clone().unwrap_or_default(),
            found.files.count.to_string(),
            found.array.as_ref().map_or("-".into(), |a| Bytes(a.bytes).to_string()),
            if faults == 0 { "-".into() } else { faults.to_string() },
            found.array.as_ref().map_or("-".into(), |a| format!("{} {}", tuple(&a.shape), a.dtype)),
        ]);
    }
    push(&mut out, table.lines(style.width));
    for (i, found) in arrays.iter().enumerate() {
        if i > 0 && found.faults.is_empty() {
            continue;
        }
        out += &format!("\n{}\n", style.bold(&format!("{field} {}", found.value.as_deref().unwrap_or_default())));
        one(found, style, &mut out);
    }
    // Of arrays that are not shown the notes are told, those apart that the first has as well.
    let mut notes: Vec<GroupedNote> = Vec::new();
    let is_hidden = |found: &&Findings| found.faults.is_empty();
    arrays.iter().skip(1).filter(is_hidden).for_each(|found| GroupedNote::merge(&mut notes, &found.notes));
    let shown = |note: &&GroupedNote| arrays.iter().take(1).flat_map(|a| &a.notes).any(|known| known.text == note.text);
    let mut table = Table::default();
    notes.iter().filter(|note| !shown(note)).for_each(|note| table.row(["note".to_owned(), note.to_string()]));
    push(&mut out, table.lines(style.width));
    out
}

fn files_of(arrays: &[Findings]) -> String {
    let n = arrays.iter().map(|a| a.files.count).sum();
    let bytes = arrays.iter().map(|a| a.files.bytes).sum();
    if bytes == 0 { count(n, "file") } else { format!("{}, {}", count(n, "file"), Bytes(bytes)) }
}

fn one(found: &Findings, style: Style, out: &mut String) {
    headline(found, style, out);
    faults(found, style, out);
    if let Some(presence) = found.presence.as_ref().filter(|p| p.rows.iter().any(|r| !r.is_full())) {
        out.push('\n');
        push(out, presence.lines(style.width));
    }
    array(found, style, out);
    fields(found, style, out);
    known(found, style, out);
    next(found, style, out);
}

fn push(out: &mut String, lines: impl IntoIterator<Item = String>) {
    for line in lines {
        out.push_str(&line);
        out.push('\n');
    }
}

/// `z y x (201, 1024, 768) uint16, uncompressed`.
fn kind(kind: &KindFound) -> String {
    format!("{} {} {}, {}", kind.axes.join(" "), tuple(&kind.shape), kind.dtype, kind.storage)
}

fn headline(found: &Findings, style: Style, out: &mut String) {
    let files = &found.files;
    let mut head = if files.opened {
        format!("{}, {}", count(files.count, "file"), Bytes(files.bytes))
    } else {
        format!("{}, files not opened", count(files.count, "name"))
    };
    let all = if files.count > 1 { "all " } else { "" };
    if let [only] = found.kinds.as_slice() {
        head += &format!(", {}{}", if found.unreadable.count == 0 { all } else { "" }, kind(only));
    }
    *out += &style.bold(&wrapped(&head, style.width, 2));
    out.push('\n');
    if found.kinds.len() > 1 {
        const MOST: usize = 8;
        let mut table = Table::default();
        for k in found.kinds.iter().take(MOST) {
            let like = if k.files < files.count / 2 + 1 { format!(", like {}", k.like) } else { String::new() };
            table.row([count(k.files, "file"), format!("{}{like}", kind(k))]);
        }
        push(out, table.lines(style.width));
        if found.kinds.len() > MOST {
            *out += &format!("  and {} more kinds of files\n", found.kinds.len() - MOST);
        }
    }
    if files.left_out > 0 {
        *out += &format!("  {} left out by --include or --exclude\n", count(files.left_out, "file"));
    }
}

fn faults(found: &Findings, style: Style, out: &mut String) {
    use ObstacleKind::{EmptyFrames, Odd, RepeatedFrames, Size, Uneven, Unmatched};
    let mild = |fault: &Obstacle| matches!(fault.kind, Unmatched | Odd | Uneven | Size | EmptyFrames | RepeatedFrames);
    let mut sorted: Vec<&Obstacle> = found.faults.iter().collect();
    sorted.sort_by_key(|f| mild(f));
    for fault in sorted {
        let word = if mild(fault) { style.warning() } else { style.error() };
        let (head, examples) = fault.text.split_once('\n').unwrap_or((&fault.text, ""));
        *out += &format!("{word} {}\n", wrapped(head, style.width - 9, 2));
        let indented = examples.lines().map(|l| if l.starts_with(' ') { l.to_owned() } else { format!("  {l}") });
        push(out, fitted(&indented.collect::<Vec<_>>().join("\n"), style.width).lines().map(str::to_owned));
    }
}

fn array(found: &Findings, style: Style, out: &mut String) {
    let Some(array) = &found.array else { return };
    let Some(file) = found.kinds.first() else { return };
    out.push('\n');
    let names: Vec<&str> = array.axes.iter().map(|a| a.name.as_str()).collect();
    let planes: u64 = file.axes.iter().zip(&file.shape).take_while(|(a, _)| *a != "y").map(|(_, n)| n).product();
    let mut table = Table::default();
    table.row(["", "array", "file"]);
    table.row(["bytes".to_owned(), Bytes(array.bytes).to_string(), Bytes(file.bytes).to_string()]);
    table.row(["axes".to_owned(), names.join(" "), file.axes.join(" ")]);
    table.row(["shape".to_owned(), tuple(&array.shape), tuple(&file.shape)]);
    table.row(["count".to_owned(), count(array.files, "file"), count(planes, "plane")]);
    table.row(["dtype".to_owned(), array.dtype.clone(), file.dtype.clone()]);
    if let Some(stored) = &found.storage {
        table.row(["", "", ""]);
        table.row([String::new(), format!("Zarr v{}", stored.zarr_format), "size".into(), "count".into()]);
        let chunk = tuple(&stored.chunks);
        table.row(["chunk".to_owned(), chunk, Bytes(stored.chunk_bytes).to_string(), stored.n_chunks.to_string()]);
        if let (Some(shards), Some(bytes)) = (&stored.shards, stored.shard_bytes) {
            let n = Grid::new(&array.shape, shards).len().to_string();
            table.row(["shard".to_owned(), tuple(shards), Bytes(bytes).to_string(), n]);
        }
        table.row(["codec", &stored.codec]);
    }
    push(out, table.lines(style.width));
}

fn fields(found: &Findings, style: Style, out: &mut String) {
    if found.fields.is_empty() {
        return;
    }
    out.push('\n');
    let mut table = Table::default();
    table.row(["field", "axis", "count", "first", "last", "step", "missing"]);
    let (constant, varying): (Vec<_>, Vec<_>) = found.fields.iter().partition(|f| f.role == "constant");
    for field in &varying {
        let axis = match field.role {
            "axis" => field.axes.join(" "),
            "coordinate" => format!("({})", field.axes.join(" ")),
            "follows" => format!("follows {}", field.axes.join(" and ")),
            _ => "none".to_owned(),
        };
        let step = field.step.map(|step| (step * 1e6).round() / 1e6);
        let step = match (step, &field.unit) {
            (Some(step), Some(unit)) => format!("{step} {unit}"),
            (Some(step), None) => step.to_string(),
            (None, Some(unit)) => format!("({unit})"),
            (None, None) => "-".into(),
        };
        table.row([
            shortened(&field.name, style.width / 4),
            axis,
            field.count.to_string(),
            shortened(&field.first, style.width / 6),
            shortened(&field.last, style.width / 6),
            step,
            if field.missing.is_empty() { "-".into() } else { missing(&field.missing) },
        ]);
    }
    push(out, table.lines(style.width));
    // Text that is no field and never changes needs no mention.
    let constant: Vec<_> = constant.into_iter().filter(|f| f.name != f.first).collect();
    if !constant.is_empty() {
        let parts: Vec<String> = constant.iter().map(|f| format!("{} {}", f.name, f.first)).collect();
        *out +=
            &format!("  {}\n", wrapped(&format!("the same in every name: {}", parts.join(", ")), style.width - 2, 4));
    }
}

fn missing(runs: &[String]) -> String {
    const FEW: usize = 6;
    let more = if runs.len() > FEW { format!(" and {} more", runs.len() - FEW) } else { String::new() };
    format!("{}{more}", runs[..runs.len().min(FEW)].join(" "))
}

/// Sizes, series and notes.
fn known(found: &Findings, style: Style, out: &mut String) {
    let mut table = Table::default();
    let words = |c: &CalibrationFound, step| unit::words(&Calibration { step, unit: c.unit.clone(), from: c.from });
    let (time, space): (Vec<_>, Vec<_>) = found.calibration.iter().partition(|c| c.axis == "t");
    if let Some(first) = space.first() {
        let same = space.iter().all(|c| c.from == first.from);
        let sizes = space.iter().map(|c| {
            let from = if same { String::new() } else { format!(" from {}", c.from.words()) };
            format!("{} {}{from}", c.axis, words(c, c.step))
        });
        let sizes = sizes.collect::<Vec<_>>().join(", ");
        let from = if same { format!(", from {}", first.from.words()) } else { String::new() };
        table.row(["voxel size".to_owned(), format!("{sizes}{from}")]);
    } else if found.array.is_some() {
        table.row([
            "voxel size",
            "not found in tags or descriptions; give it with --voxel-size z=0.5um,y=0.1um,x=0.1um",
        ]);
    }
    for c in &time {
        let deviation = c.deviation.map_or(String::new(), |d| format!(" (largest deviation {})", words(c, d)));
        table.row(["time step".to_owned(), format!("{} from {}{deviation}", words(c, c.step), c.from.words())]);
    }
    let has_time = found.array.as_ref().is_some_and(|a| a.axes.iter().any(|a| a.name == "t" && a.length > 1));
    if time.is_empty() && has_time {
        table.row(["time step", "not found in names or files; give it with --time-step 10s"]);
    }
    for axis in found.array.iter().flat_map(|a| &a.axes) {
        let labels = axis.labels.as_deref().unwrap_or_default();
        let counted = labels.iter().enumerate().all(|(i, l)| l.parse() == Ok(i));
        if axis.name == "c" && !counted {
            table.row(["channels".to_owned(), labels.iter().take(12).cloned().collect::<Vec<_>>().join(", ")]);
        }
    }
    if let Some(pattern) = found.pattern.as_ref().filter(|p| p.from != "given") {
        let from = pattern.preset.as_ref().map_or("found in the names".into(), |name| format!("preset '{name}'"));
        let text = if found.array.is_none() { format!("'{}', {from}", pattern.text) } else { from };
        table.row(["pattern", &text]);
        let why = pattern.why.iter().filter(|_| voice::is_verbose());
        why.for_each(|why| table.row(["", why]));
    }
    for (i, series) in found.series.iter().enumerate() {
        let chosen = if i == 0 { " (this one)" } else { "" };
        table.row([if i == 0 { "series" } else { "" }, &format!("{series}{chosen}")]);
    }
    let levels = found.kinds.iter().flat_map(|kind| kind.levels.iter().enumerate());
    for (level, shape) in levels.take(MOST_LEVELS) {
        let how = if level == 0 { "the full resolution".to_owned() } else { format!("--level {level}") };
        table.row([if level == 0 { "levels" } else { "" }, &format!("{} {how}", tuple(shape))]);
    }
    // What the lines above say already.
    let told =
        |n: &&GroupedNote| time.iter().any(|c| n.n_files == 0 && n.text.starts_with(&format!("{}: step ", c.axis)));
    for note in found.notes.iter().filter(|n| !told(n)) {
        table.row(["note".to_owned(), note.to_string()]);
    }
    let lines = table.lines(style.width);
    if !lines.is_empty() {
        out.push('\n');
        push(out, lines);
    }
    for c in &found.calibration {
        for other in &c.disagreements {
            let text = format!("axis {}: {} is taken, but it is {other}", c.axis, words(c, c.step));
            *out += &format!("{} {}\n", style.warning(), wrapped(&text, style.width - 9, 2));
        }
    }
}

fn next(found: &Findings, style: Style, out: &mut String) {
    let Some(array) = &found.array else { return };
    let blocked = found.faults.iter().any(|f| matches!(f.kind, ObstacleKind::Duplicates | ObstacleKind::Conflict));
    let strangers = found.unmatched.count + found.odd.count + found.unreadable.count;
    let is_excluded = found.command.iter().any(|w| w == "--exclude") || strangers == 0;
    out.push('\n');
    if blocked || !is_excluded {
        *out += "  once the faults above are settled:\n";
    }
    push(out, shell_lines(&found.command, style.width - 2).iter().map(|l| format!("  {}", style.bold(l))));
    let Some(stored) = &found.storage else { return };
    let what = if stored.shards.is_some() { "shard" } else { "chunk file" };
    let mut text = format!("would write {} at most", count(stored.output_files, what));
    let n_levels = stored.levels.len() as u64;
    if n_levels > 1 {
        text += &format!(", in {}", count(n_levels, "level"));
    }
    if let Some(sample) = &stored.sample {
        let element_bytes = array.bytes / n_elements(&array.shape).max(1);
        let all_bytes = stored.levels.iter().map(|shape| n_elements(shape)).sum::<u64>() * element_bytes;
        text += &format!(
            ", about {} ({:.2} times smaller than {}, from {})",
            Bytes(sample.output_bytes),
            sample.ratio,
            Bytes(all_bytes),
            count(sample.chunks, "sampled chunk")
        );
    }
    if let Some(peak) = stored.predicted_peak_bytes {
        text += &format!(
            "; peak memory {} with {}, of {} allowed",
            Bytes(peak),
            count(stored.threads as u64, "thread"),
            Bytes(stored.memory_limit_bytes)
        );
    }
    if let Some(amplification) = stored.read_amplification.filter(|a| *a > 1.005) {
        text += &format!("; read amplification {amplification:.2}");
    }
    *out += &format!("  {}\n", wrapped(&text, style.width - 2, 2));
    if let Some(refused) = &stored.refused {
        *out += &format!("{} {}\n", style.error(), wrapped(refused, style.width - 9, 2));
    }
}
