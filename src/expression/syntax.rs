//! From the text of an expression to its tree: a scanner and a parser by binding powers, which know no arrays.
//!
//! Operators bind as in Python, but that comparisons are not chained. What stands in brackets, and behind the name of
//! an argument, is kept as text: selections and sizes have grammars of their own.

use std::fmt;
use std::ops::Range;

use crate::error::{Error, Result};

/// A part of an expression and where it stands, in bytes of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// Where.
    pub span: Range<usize>,
    /// What.
    pub kind: NodeKind,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// An input, or a word that a function knows.
    Name(String),
    /// Text in quotes.
    Text(String),
    /// A prefix operator.
    Unary(&'static str, Box<Expression>),
    /// An infix operator.
    Binary(&'static str, Box<Expression>, Box<Expression>),
    /// A function with its arguments.
    Call(String, Vec<Argument>),
    /// A selection of an array, as text.
    Select(Box<Expression>, String),
}

/// An argument of a function.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// By its place.
    Placed(Expression),
    /// By its name: the name, the text of the value, and where both stand.
    Named(String, String, Range<usize>),
}

/// Infix operators with their binding powers to the left and to the right, longer ones before their beginnings.
const INFIX: [(&str, u8, u8); 16] = [
    ("**", 16, 13),
    ("//", 11, 12),
    ("<=", 1, 2),
    (">=", 1, 2),
    ("==", 1, 2),
    ("!=", 1, 2),
    ("<", 1, 2),
    (">", 1, 2),
    ("|", 3, 4),
    ("^", 5, 6),
    ("&", 7, 8),
    ("+", 9, 10),
    ("-", 9, 10),
    ("*", 11, 12),
    ("/", 11, 12),
    ("%", 11, 12),
];
/// Prefix operators, which bind to the right with this power.
const PREFIX: [&str; 3] = ["-", "+", "~"];
const PREFIX_POWER: u8 = 14;
/// Deeper nesting is no expression that somebody wrote.
const MOST_DEPTH: usize = 200;

/// An error that points at `span` of the expression `text`.
pub fn fault(text: &str, span: &Range<usize>, why: impl fmt::Display) -> Error {
    let before = text.get(..span.start).map_or(0, |t| t.chars().count());
    let marked = text.get(span.clone()).map_or(1, |t| t.chars().count()).max(1);
    let line = text.replace(['\n', '\t'], " ");
    let (at, arrows) = (before + 1, "^".repeat(marked));
    Error::usage(format!("expression, character {at}: {why}\n  {line}\n  {:before$}{arrows}", ""))
}

/// Reads an expression.
///
/// # Errors
/// `Usage`, pointing at the character that was not expected.
pub fn parse(text: &str) -> Result<Expression> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let parsed = parser.expression(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.unexpected("an operator or the end"));
    }
    Ok(parsed)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes `token` if it comes next.
    fn takes(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expects(&mut self, token: &str) -> Result<()> {
        if self.takes(token) { Ok(()) } else { Err(self.unexpected(&format!("'{token}'"))) }
    }

    /// What comes next is not what was `expected`.
    fn unexpected(&self, expected: &str) -> Error {
        let found = self.rest().chars().next();
        let span = self.at..self.at + found.map_or(0, char::len_utf8);
        let found = found.map_or("the end".to_owned(), |c| format!("'{c}'"));
        fault(self.text, &span, format!("found {found}, expected {expected}"))
    }

    /// An expression whose operators bind at least as strongly as `least`.
    fn expression(&mut self, least: u8) -> Result<Expression> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(self.unexpected("fewer brackets within each other"));
        }
        let mut left = self.operand()?;
        loop {
            self.space();
            let Some(&(operator, power, right_power)) = INFIX.iter().find(|i| self.rest().starts_with(i.0)) else {
                break;
            };
            if power < least {
                break;
            }
            if power == 1
                && matches!(left.kind, NodeKind::Binary(o, ..) if is_comparison(o))
                && !self.is_bracketed(&left)
            {
                return Err(self.unexpected("one comparison: write (0 < a) & (a < 9)"));
            }
            self.at += operator.len();
            let right = self.expression(right_power)?;
            let span = left.span.start..right.span.end;
            left = Expression { span, kind: NodeKind::Binary(operator, Box::new(left), Box::new(right)) };
        }
        self.depth -= 1;
        Ok(left)
    }

    /// Whether the expression stands in brackets of its own.
    fn is_bracketed(&self, expression: &Expression) -> bool {
        self.text[..expression.span.end].ends_with(')') && self.text[expression.span.start..].starts_with('(')
    }

    fn operand(&mut self) -> Result<Expression> {
        self.space();
        let start = self.at;
        if let Some(operator) = PREFIX.iter().find(|p| self.rest().starts_with(**p)) {
            self.at += operator.len();
            let inner = self.expression(PREFIX_POWER)?;
            return Ok(Expression { span: start..self.at, kind: NodeKind::Unary(operator, Box::new(inner)) });
        }
        let mut kind = self.primary()?;
        while self.takes("[") {
            let choice = self.raw(&[']'])?;
            self.expects("]")?;
            let inner = Expression { span: start..self.at, kind };
            kind = NodeKind::Select(Box::new(inner), choice);
        }
        Ok(Expression { span: start..self.trimmed_end(), kind })
    }

    /// The end of what was read, without blanks behind it.
    fn trimmed_end(&self) -> usize {
        self.text[..self.at].trim_end().len()
    }

    fn primary(&mut self) -> Result<NodeKind> {
        if self.takes("(") {
            let inner = self.expression(0)?;
            self.expects(")")?;
            return Ok(inner.kind);
        }
        match self.rest().chars().next() {
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_alphabetic() || c == '_' => self.word(),
            Some(quote @ ('\'' | '"')) => {
                self.at += 1;
                let end = self.rest().find(quote).ok_or_else(|| self.unexpected("a closing quote"))?;
                let text = self.rest()[..end].to_owned();
                self.at += end + 1;
                Ok(NodeKind::Text(text))
            }
            _ => Err(self.unexpected("a number, an array or a function")),
        }
    }

    fn number(&mut self) -> Result<NodeKind> {
        let bytes = self.rest().as_bytes();
        let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut end = digits(0);
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits((end + 1 + sign).min(bytes.len()));
            end = if exponent > end + 1 + sign { exponent } else { end };
        }
        let (text, span) = (&self.rest()[..end], self.at..self.at + end);
        let kind = match text.parse::<i128>() {
            Ok(whole) => NodeKind::Integer(whole),
            Err(_) => NodeKind::Float(text.parse().map_err(|_| fault(self.text, &span, "is not a number"))?),
        };
        self.at += end;
        if self.rest().starts_with(|c: char| c.is_alphabetic()) {
            return Err(self.unexpected("an operator: sizes with a unit are arguments with a name, such as z=1um"));
        }
        Ok(kind)
    }

    /// A name, with dots as in `kernel.npy`; or a function with its arguments.
    fn word(&mut self) -> Result<NodeKind> {
        let name = self.name();
        if !self.takes("(") {
            return Ok(NodeKind::Name(name));
        }
        let mut arguments = Vec::new();
        if self.takes(")") {
            return Ok(NodeKind::Call(name, arguments));
        }
        loop {
            arguments.push(self.argument()?);
            if self.takes(")") {
                return Ok(NodeKind::Call(name, arguments));
            }
            if !self.takes(",") {
                return Err(self.unexpected("',' or ')'"));
            }
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let inside = |(i, c): (usize, char)| {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            word(c) || (c == '.' && rest[i + 1..].starts_with(char::is_alphabetic))
        };
        let end = rest.char_indices().find(|&found| !inside(found)).map_or(rest.len(), |(i, _)| i);
        self.at += end;
        rest[..end].to_owned()
    }

    fn argument(&mut self) -> Result<Argument> {
        self.space();
        let start = self.at;
        if self.rest().starts_with(|c: char| c.is_alphabetic()) {
            let name = self.name();
            self.space();
            if self.rest().starts_with('=') && !self.rest().starts_with("==") {
                self.at += 1;
                let value = self.raw(&[',', ')'])?;
                return Ok(Argument::Named(name, value, start..self.trimmed_end()));
            }
            self.at = start;
        }
        // A file by its path, which is no expression.
        let end = self.rest().find([',', ')']).unwrap_or(0);
        let path = self.rest()[..end].trim_end();
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        if path.ends_with(".npy") && !path.starts_with(['\'', '"']) && !path.chars().all(is_name) {
            self.at += path.len();
            let kind = NodeKind::Text(path.to_owned());
            return Ok(Argument::Placed(Expression { span: start..self.at, kind }));
        }
        self.expression(0).map(Argument::Placed)
    }

    /// The text up to one of `ends` outside brackets.
    fn raw(&mut self, ends: &[char]) -> Result<String> {
        let mut open = 0i32;
        for (i, c) in self.rest().char_indices() {
            if open == 0 && ends.contains(&c) {
                let text = self.rest()[..i].trim().trim_matches(['\'', '"']).to_owned();
                if text.is_empty() {
                    break;
                }
                self.at += i;
                return Ok(text);
            }
            open += i32::from(matches!(c, '[' | '(')) - i32::from(matches!(c, ']' | ')'));
        }
        if !self.rest().contains(ends) {
            self.at = self.text.len();
        }
        self.space();
        let end = ends.iter().map(|c| format!("'{c}'")).collect::<Vec<_>>().join(" or ");
        Err(self.unexpected(&format!("a value and {end}")))
    }
}

fn is_comparison(operator: &str) -> bool {
    matches!(operator, "<" | "<=" | ">" | ">=" | "==" | "!=")
}

/// Prints the tree, one text for one meaning.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NodeKind::Integer(n) => write!(f, "{n}"),
            NodeKind::Float(x) => write!(f, "{x:?}"),
            NodeKind::Name(name) => f.write_str(name),
            NodeKind::Text(text) => write!(f, "'{text}'"),
            NodeKind::Unary(operator, inner) => write!(f, "{operator}{inner}"),
            NodeKind::Binary(operator, left, right) => write!(f, "({left} {operator} {right})"),
            NodeKind::Select(inner, choice) => write!(f, "{inner}[{choice}]"),
            NodeKind::Call(name, arguments) => {
                write!(f, "{name}(")?;
                for (i, argument) in arguments.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    match argument {
                        Argument::Placed(value) => write!(f, "{comma}{value}")?,
                        Argument::Named(name, value, _) => write!(f, "{comma}{name}={value}")?,
                    }
                }
                f.write_str(")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        parse(text).unwrap().to_string()
    }

    #[test]
    fn operators_bind_as_in_python() {
        for (text, tree) in [
            ("a - mean(a, t)", "(a - mean(a, t))"),
            ("-2**2", "-(2 ** 2)"),
            ("2**-1", "(2 ** -1)"),
            ("2**3**2", "(2 ** (3 ** 2))"),
            ("a - b - c", "((a - b) - c)"),
            ("a + b * c // d % 2", "(a + (((b * c) // d) % 2))"),
            ("a & b | c ^ d", "((a & b) | (c ^ d))"),
            ("a + 1 > b & c", "((a + 1) > (b & c))"),
            ("~a & (b < 1.5e3)", "(~a & (b < 1500.0))"),
            ("a[t=::4] - a[ t=[10,1,5], z=3 ]", "(a[t=::4] - a[t=[10,1,5], z=3])"),
            (
                "gaussian(a, z=1um, mode = nearest) > 3*std(a, z,y,x)",
                "(gaussian(a, z=1um, mode=nearest) > (3 * std(a, z, y, x)))",
            ),
            ("convolve(a, kernel.npy) == 'x y'", "(convolve(a, kernel.npy) == 'x y')"),
            ("convolve(a, ../my-kernels/3 x 3.npy )", "convolve(a, '../my-kernels/3 x 3.npy')"),
            ("convolve(a, 'sub/k.npy', mode=wrap)", "convolve(a, 'sub/k.npy', mode=wrap)"),
            ("(a < 1) == (b < 2)", "((a < 1) == (b < 2))"),
        ] {
            assert_eq!(shown(text), tree);
        }
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, at, said) in [
            ("a - mean(a, t", 14, "',' or ')'"),
            ("a +", 4, "the end"),
            ("a b", 3, "an operator"),
            ("0 < a < 9", 7, "one comparison"),
            ("a[t=1", 6, "']'"),
            ("gaussian(a, 2um)", 14, "z=1um"),
            ("f(x=)", 5, "a value"),
            ("µ + $", 5, "a number"),
            ("'a", 2, "quote"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("expression, character {at}: ")) && error.contains(said), "{error}");
        }
        assert!(parse(&"(".repeat(100_000)).is_err());
        assert!(parse(&"-".repeat(100_000)).is_err());
    }
}
