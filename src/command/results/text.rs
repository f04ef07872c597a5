//! What `reduce` says of its results: the plan, files written, numbers as text or JSON.

use anyhow::Result;
use serde_json::{Value, json};

use super::super::{print, print_json, tell};
use super::{Figures, Target};
use crate::axis::Axis;
use crate::block::Block;
use crate::cli::{Missing, ReduceArgs};
use crate::consume::Product;
use crate::dtype::{Complex, DType};
use crate::exec::budget::Bytes;
use crate::grid::n_elements;
use crate::reduce::{Quantity, Reducer};
use crate::report::{count, duration, remarks, tuple};

/// Prints what would be done.
pub(in crate::command) fn show_plan(
    args: &ReduceArgs,
    reducer: &Reducer,
    targets: &[Target],
    plan: &Figures,
) -> Result<()> {
    let place = |target: &Target| match target {
        Target::Print => "printed".to_owned(),
        Target::Pipe => "standard output".to_owned(),
        Target::File(path) => path.display().to_string(),
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
        return print_json(&json!({ "outputs": outputs, "plan": plan, "notes": plan.notes }));
    }
    let mut lines = vec![format!(
        "{} {} ({}), axes {}",
        tuple(&plan.input_shape),
        plan.input_dtype,
        Bytes(plan.bytes_in),
        plan.input_axes.join(" ")
    )];
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
        "  reads        {passes}, {} in pieces of up to {}",
        count(plan.tasks, "task"),
        tuple(&plan.piece)
    ));
    lines.push(format!(
        "  memory       {} with {}, limit {}",
        Bytes(plan.predicted_peak_bytes),
        count(plan.threads as u64, "thread"),
        Bytes(plan.memory_limit_bytes)
    ));
    lines.push(format!("  read amplification {:.2}", plan.read_amplification));
    lines.push("nothing was read (--dry-run)\n".into());
    print(lines.join("\n").as_bytes())
}

/// Prints what was done, and results that go to the terminal.
pub(in crate::command) fn show(
    args: &ReduceArgs,
    reducer: &Reducer,
    targets: &[Target],
    products: Vec<Product>,
    figures: &Figures,
    n_files: u64,
) -> Result<()> {
    let outputs = reducer.outputs();
    if args.run.json && !targets.contains(&Target::Pipe) {
        let list: Vec<Value> = outputs.iter().zip(&products).map(|(o, p)| as_json(o, p)).collect();
        print_json(&json!({
            "outputs": list, "input_files": n_files, "figures": figures, "notes": figures.notes,
            "losses": figures.losses,
        }))?;
    } else {
        let mut text = String::new();
        for (output, product) in outputs.iter().zip(&products) {
            if let Some(block) = &product.values {
                text += &as_text(output, block, outputs.len() > 1);
            }
            if let Some(path) = product.path.as_ref().filter(|_| !args.run.quiet) {
                let shape = tuple(&output.shape());
                tell(format_args!("{}: {shape} {} ({})", path.display(), output.dtype, Bytes(product.bytes)));
                if let Some((low, high)) = product.window {
                    tell(format_args!("  black is {low}, white is {high}"));
                }
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

fn as_json(output: &Quantity, product: &Product) -> Value {
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
    if let Some(block) = &product.values {
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

/// The elements of a block with their places along `axes`, a line each.
pub(in crate::command) fn numbers(axes: &[Axis], block: &Block) -> String {
    let texts = block.bytes().chunks_exact(block.dtype().size()).map(|b| element_text(block.dtype(), b));
    let lines = crate::grid::positions(&crate::axis::shape(axes)).zip(texts);
    lines.map(|(position, value)| format!("{}{value}\n", place(axes, &position))).collect()
}

/// What the indices along `axes` are called, each with a tabulator behind it.
fn place(axes: &[Axis], position: &[u64]) -> String {
    let name = |(axis, at): (&Axis, &u64)| {
        let label = axis.labels.as_ref().and_then(|l| l.get(*at as usize).cloned());
        let coordinate = || axis.coordinates.as_ref().and_then(|c| c.get(*at as usize)).map(f64::to_string);
        format!("{}\t", label.or_else(coordinate).unwrap_or_else(|| at.to_string()))
    };
    axes.iter().zip(position).map(name).collect()
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

/// Numbers as text: one alone, or a line for each with its place.
fn as_text(output: &Quantity, block: &Block, named: bool) -> String {
    let texts = block.bytes().chunks_exact(output.dtype.size()).map(|b| element_text(output.dtype, b));
    let prefix = if named { format!("{}\t", output.label) } else { String::new() };
    let shape = output.shape();
    let is_histogram = output.axes.first().is_some_and(|a| a.name == "bin");
    let mut text = String::new();
    for (position, value) in crate::grid::positions(&shape).zip(texts) {
        // Exact histograms have thousands of values that do not occur.
        if is_histogram && value == "0" && shape[0] > 1024 {
            continue;
        }
        text += &prefix;
        text += &place(&output.axes, &position);
        text += &value;
        text.push('\n');
    }
    text
}

fn element_text(dtype: DType, bytes: &[u8]) -> String {
    if dtype == DType::Bool {
        return (bytes != [0]).to_string();
    }
    fn read<T: bytemuck::Pod>(bytes: &[u8]) -> T {
        bytemuck::pod_read_unaligned(bytes)
    }
    // What is not a number is printed without a sign.
    let plus = |is_nan: bool| if is_nan { "+" } else { "" };
    match dtype {
        DType::Bool | DType::Uint8 => read::<u8>(bytes).to_string(),
        DType::Uint16 => read::<u16>(bytes).to_string(),
        DType::Uint32 => read::<u32>(bytes).to_string(),
        DType::Uint64 => read::<u64>(bytes).to_string(),
        DType::Int8 => read::<i8>(bytes).to_string(),
        DType::Int16 => read::<i16>(bytes).to_string(),
        DType::Int32 => read::<i32>(bytes).to_string(),
        DType::Int64 => read::<i64>(bytes).to_string(),
        DType::Float16 => read::<half::f16>(bytes).to_string(),
        DType::Float32 => read::<f32>(bytes).to_string(),
        DType::Float64 => read::<f64>(bytes).to_string(),
        DType::Complex64 => {
            let z = read::<Complex<f32>>(bytes);
            format!("{}{}{:+}j", z.re, plus(z.im.is_nan()), z.im)
        }
        DType::Complex128 => {
            let z = read::<Complex<f64>>(bytes);
            format!("{}{}{:+}j", z.re, plus(z.im.is_nan()), z.im)
        }
    }
}

/// Numbers as JSON numbers; what JSON has no number for as text.
fn element_json(dtype: DType, bytes: &[u8]) -> Value {
    let text = element_text(dtype, bytes);
    match dtype {
        DType::Bool => Value::Bool(text == "true"),
        _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}
