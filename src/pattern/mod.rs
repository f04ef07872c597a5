//! File-name templates: parse, match a name, format a name, and arrange names on a grid. Pure.
