//! Reductions: operators that fold blocks into partial results, and the table of them.
