//! What `reduce` says of its results: the plan, files written, numbers as text or JSON.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use super::super::voice::width;
use super::super::{plot, print, print_json, tell};
use super::{Destination, Figures};
use crate::axis::Axis;
use crate::block::Block;
use crate::cli::{Missing, ReduceArgs};
use crate::consume::Product;
use crate::draw::table::Table;
use crate::draw::values::{element, line, rows};
use crate::dtype::DType;
use crate::exec::budget::Bytes;
use crate::grid::n_elements;
use crate::reduce::{OperatorOutput, Reducer};
use crate::report::{count, duration, remarks, tuple};

/// Prints what would be done.
pub(in crate::command) fn show_plan(
    args: &ReduceArgs,
    reducer: &Reducer,
    targets: &[Destination],
    tree: &[String],
    plan: &Figures,
) -> Result<()> {
    let place = |target: &Destination| match target {
        Destination::Print => "printed".to_owned(),
        Destination::Pipe => "standard output".to_owned(),
        Destination::File(path) => path.display().to_string(),
    };
    let outputs = || reducer.outputs().iter().zip(targets);
    if args.run.json {
        let outputs: Vec<Value> = outputs()
            .map(|(o, t)| {
                json!({
                    "operator": o.label, "output": place(t), "axes": o.axes, "shape": o.shape(),
                    "dtype": o.dtype, "strategy": o.strategy,
                })
            })
            .collect();
        return print_json(&json!({ "outputs": outputs, "plan": plan, "notes": plan.notes, "tree": tree }));
    }
    let mut lines = tree.to_vec();
    lines.push(format!(
        "{} {} ({}), axes {}",
        tuple(&plan.input_shape),
        plan.input_dtype,
        Bytes(plan.bytes_in),
        plan.input_axes.join(" ")
    ));
    for (output, target) in outputs() {
        let shape = output.shape();
        let what = if shape.is_empty() { "a number".to_owned() } else { tuple(&shape) };
        lines.push(format!("  {:<12} {what} {}: {}", output.label, output.dtype, place(target)));
        if let Some(strategy) = &output.strategy {
            lines.push(format!("               {strategy}"));
        }
    }
    let passes = if plan.passes == 1 { "one pass".to_owned() } else { format!("{} passes", plan.passes) };
    lines.push(format!(
        "  reads        {passes}, {} in pieces of up to {}, read amplification {:.2}",
        count(plan.tasks, "task"),
        tuple(&plan.piece),
        plan.read_amplification
    ));
    lines.push(format!(
        "  memory       {} with {}, limit {}",
        Bytes(plan.predicted_peak_bytes),
        count(plan.threads as u64, "thread"),
        Bytes(plan.memory_limit_bytes)
    ));
    lines.push("nothing was read (--dry-run)\n".into());
    print(lines.join("\n").as_bytes())
}

/// Prints what was done, and results that go to the terminal.
pub(in crate::command) fn show(
    args: &ReduceArgs,
    reducer: &Reducer,
    targets: &[Destination],
    products: Vec<Product>,
    figures: &Figures,
    n_files: u64,
) -> Result<()> {
    let outputs = reducer.outputs();
    for (output, product) in outputs.iter().zip(&products) {
        let (Some(plot), Some(block)) = (&args.plot, &product.values) else { continue };
        let path = PathBuf::from(plot.to_string_lossy().replace("{op}", &output.file_part()));
        plot::write(&path, &output.axes, block, &output.label, args.overwrite)?;
        if !args.run.quiet {
            tell(format_args!("{}: {} of {}", path.display(), output.label, tuple(&output.shape())));
        }
    }
    if args.run.json && !targets.contains(&Destination::Pipe) {
        let list: Vec<Value> = outputs.iter().zip(&products).map(|(o, p)| as_json(o, p)).collect();
        print_json(&json!({
            "outputs": list, "input_files": n_files, "figures": figures, "notes": figures.notes,
            "losses": figures.losses,
        }))?;
    } else {
        let is_printed = |t: &Destination| *t == Destination::Print && args.plot.is_none();
        let printed = outputs.iter().zip(&products).zip(targets).filter(|(_, target)| is_printed(target));
        let values = printed.filter_map(|((o, p), _)| Some((o, p.values.as_ref()?)));
        let text = as_text(&values.collect::<Vec<_>>(), std::io::stdout().is_terminal());
        for (output, product) in outputs.iter().zip(&products).filter(|_| !args.run.quiet) {
            let Some(path) = &product.path else { continue };
            let shape = tuple(&output.shape());
            tell(format_args!("{}: {shape} {} ({})", path.display(), output.dtype, Bytes(product.bytes)));
            if let Some((low, high)) = product.window {
                tell(format_args!("  black is {low}, white is {high}"));
            }
        }
        print(text.as_bytes())?;
    }
    if !args.run.quiet {
        let line = format!(
            "  {} of {} in {}, {}/s, peak {} (predicted {})",
            Bytes(figures.bytes_in),
            count(n_files, "file"),
            duration(figures.wall_s),
            Bytes(figures.rate_bytes_per_s as u64),
            Bytes(figures.measured_peak_bytes),
            Bytes(figures.predicted_peak_bytes),
        );
        let happened = if args.names.missing == Missing::Skip { "were left out" } else { "hold the fill value" };
        tell(format_args!("{line}{}", remarks(figures.elements_filled, happened, figures.read_amplification)));
    }
    Ok(())
}

fn as_json(output: &OperatorOutput, product: &Product) -> Value {
    let mut value = json!({
        "operator": output.label, "axes": output.axes, "shape": output.shape(), "dtype": output.dtype,
    });
    if let Some(path) = &product.path {
        value["output"] = path.display().to_string().into();
        value["bytes"] = product.bytes.into();
    }
    if let Some((low, high)) = product.window {
        value["window"] = json!([low, high]);
    }
    if let (None, Some(block)) = (&product.path, &product.values) {
        value["value"] = numbers_json(&output.shape(), block);
    }
    value
}

/// The elements of a block as lists of lists, as deep as `shape` says.
pub(in crate::command) fn numbers_json(shape: &[u64], block: &Block) -> Value {
    let elements = block.bytes().chunks_exact(block.dtype().size());
    let flat: Vec<Value> = elements.map(|b| element_json(block.dtype(), b)).collect();
    nested(&flat, shape)
}

/// The elements of a block, which is called `name`: a number alone, or a table with their places along `axes`.
pub(in crate::command) fn numbers(name: &str, axes: &[Axis], block: &Block) -> String {
    match axes {
        [] => element(block.dtype(), block.bytes()) + "\n",
        _ => lines(rows(axes, &[(name, block)]), std::io::stdout().is_terminal()),
    }
}

/// A flat list as lists of lists.
fn nested(flat: &[Value], shape: &[u64]) -> Value {
    match shape.split_first() {
        None => flat.first().cloned().unwrap_or(Value::Null),
        Some((&n, inner)) => {
            let size = n_elements(inner) as usize;
            Value::Array((0..n as usize).map(|i| nested(&flat[i * size..(i + 1) * size], inner)).collect())
        }
    }
}

/// Results as text: a number alone, or lines of what is what; tables where they have axes, one for all that have the
/// same. Columns line up on a terminal, and stand between tabs elsewhere.
fn as_text(results: &[(&OperatorOutput, &Block)], terminal: bool) -> String {
    if let [(output, block)] = results
        && output.axes.is_empty()
    {
        return element(output.dtype, block.bytes()) + "\n";
    }
    let alike = results.chunk_by(|(a, _), (b, _)| a.axes == b.axes);
    alike.map(|results| table(results, terminal)).collect::<Vec<_>>().join("\n")
}

fn table(results: &[(&OperatorOutput, &Block)], terminal: bool) -> String {
    let axes = &results[0].0.axes;
    let arrays: Vec<(&str, &Block)> = results.iter().map(|(output, block)| (output.label.as_str(), *block)).collect();
    match axes.first() {
        None => {
            let row = |(name, block): &(&str, &Block)| vec![(*name).to_owned(), element(block.dtype(), block.bytes())];
            lines(arrays.iter().map(row), terminal)
        }
        Some(first) => {
            // Exact histograms have thousands of values that do not occur.
            let is_long = first.name == "bin" && first.length > 1024;
            let occurs = |row: &Vec<String>| row[row.len() - arrays.len()..].iter().any(|value| value != "0");
            lines(rows(axes, &arrays).filter(|row| !is_long || occurs(row)), terminal)
        }
    }
}

/// Rows in columns that line up on a terminal, and between tabs elsewhere.
fn lines(rows: impl Iterator<Item = Vec<String>>, terminal: bool) -> String {
    if !terminal {
        return rows.map(|cells| line(&cells, '\t')).collect();
    }
    let mut table = Table::default();
    rows.for_each(|row| table.row(row));
    table.lines(width()).iter().map(|line| format!("{line}\n")).collect()
}

/// Numbers as JSON numbers; what JSON has no number for as text.
fn element_json(dtype: DType, bytes: &[u8]) -> Value {
    let text = element(dtype, bytes);
    match dtype {
        DType::Bool => Value::Bool(text == "true"),
        _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}
