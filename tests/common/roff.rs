//! From the Markdown of `docs/` to the source of a man page: headings, paragraphs, lists, tables, code.

/// The part of `text` under the heading `title`, without the heading.
pub(crate) fn section<'t>(text: &'t str, title: &str) -> &'t str {
    let begin = text.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no heading '{title}'"));
    let body = &text[begin + title.len() + 5..];
    body.find("\n## ").map_or(body, |end| &body[..end]).trim()
}

/// The body of a page: everything but the title.
pub(crate) fn body(markdown: &str) -> String {
    let mut out = String::new();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            out += &format!(".SH \"{}\"\n", plain(title).to_uppercase().replace('"', ""));
        } else if line.starts_with("# ") || line.is_empty() {
            continue;
        } else if line.starts_with("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|l| !l.starts_with("```")).collect();
            out += &format!(
                ".PP\n.RS 2\n.nf\n{}\n.fi\n.RE\n",
                code.iter().map(|l| verbatim(l)).collect::<Vec<_>>().join("\n")
            );
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|l| l.starts_with('|')) {
                rows.push(cells(row));
            }
            out += &table(&rows);
        } else {
            let mut paragraph = vec![line];
            while let Some(more) =
                lines.next_if(|l| !l.is_empty() && !l.starts_with(['|', '#']) && !l.starts_with("```") && !is_item(l))
            {
                paragraph.push(more.trim());
            }
            let text = paragraph.join(" ");
            let item =
                text.strip_prefix("- ").or_else(|| text.split_once(". ").filter(|_| is_item(&text)).map(|p| p.1));
            out += &item
                .map_or_else(|| format!(".PP\n{}\n", styled(&text)), |item| format!(".IP \\(bu 2\n{}\n", styled(item)));
        }
    }
    out
}

/// Whether a line begins an item of a list.
fn is_item(line: &str) -> bool {
    line.starts_with("- ") || line.split_once(". ").is_some_and(|(n, _)| n.parse::<u32>().is_ok())
}

/// The cells of a row, without the marks that make a bar ordinary.
pub(crate) fn cells(row: &str) -> Vec<String> {
    let hidden = row.trim().trim_matches('|').replace("\\|", "\0");
    hidden.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// A table: of two columns a list of terms; of more, a line for each row, in columns that are as wide as they need be.
fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<&Vec<String>> = rows.iter().filter(|r| !r.iter().all(|c| c.trim_matches('-').is_empty())).collect();
    let Some((head, rows)) = rows.split_first() else { return String::new() };
    if head.len() == 2 {
        return rows.iter().map(|r| format!(".TP 12\n{}\n{}\n", styled(&r[0]), styled(&r[1]))).collect();
    }
    // What does not fit beside each other stands below.
    rows.iter()
        .map(|r| {
            let rest: Vec<String> = head[1..].iter().zip(&r[1..]).map(|(h, c)| format!("{h}: {}", styled(c))).collect();
            format!(".TP 12\n{}\n{}\n", styled(&r[0]), rest.join("\n.br\n"))
        })
        .collect()
}

/// A line as it is.
fn verbatim(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// Text without marks.
fn plain(text: &str) -> String {
    verbatim(&text.replace(['`', '*'], ""))
}

/// Code in bold; of links the text.
fn styled(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split('`').enumerate() {
        if i % 2 == 1 {
            out += &format!("\\fB{}\\fR", part.replace('\\', "\\e").replace('-', "\\-"));
        } else {
            let mut rest = part;
            while let Some((before, link)) = rest.split_once('[') {
                let Some((label, target)) = link.split_once("](") else { break };
                out += &format!("{}{label}", before.replace('\\', "\\e"));
                rest = target.split_once(')').map_or("", |t| t.1);
            }
            out += &rest.replace('\\', "\\e");
        }
    }
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}
