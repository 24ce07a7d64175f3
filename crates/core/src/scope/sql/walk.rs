//! Every node of the tree, held against what is granted. Nodes are allowed by name; one that this file
//! does not know is refused, so a new parser brings no new freedom.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, FunctionArguments, Ident, InTarget, Insert, ObjectName,
    OnConflictAction, OnInsert, OrderByExpr, OrderBySort, Query, Select, SelectFlavor, SetExpr,
    SqliteOnConflict, Statement, TableFactor, TableObject, Value, ValueWithSpan, Visitor,
};
use sqlparser::tokenizer::Location;

use super::functions::{acts_on_one, first_place, folded, is_field, parts};
use super::grant::Grant;
use super::judge::{character, kind_of};
use super::relations::{is_plain_join, is_secret};
use super::words::Spelled;
use super::{Dialect, SqlRefusal, SqlRefusalKind};
use crate::scope::lexer::visible;

type Flow = ControlFlow<SqlRefusal>;

/// A walk through one statement.
pub(super) struct Walk<'a> {
    sql: &'a str,
    grant: &'a Grant<'a>,
    statements: usize,
    pub(super) spelled: Spelled,
    /// How deep in `SELECT`s the walk is.
    selects: usize,
    /// The next relation is a function's name, which is judged as such.
    called: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(sql: &'a str, grant: &'a Grant<'a>) -> Self {
        let spelled = Spelled::default();
        Self { sql, grant, statements: 0, spelled, selects: 0, called: false }
    }

    fn at(&self, kind: SqlRefusalKind, place: Location, found: &str) -> Flow {
        let column =
            if place.line == 0 { 0 } else { character(self.sql, place.line, place.column) };
        Flow::Break(SqlRefusal { kind, column, found: visible(found, 32) })
    }

    fn writes(&self, found: &str) -> Flow {
        self.at(SqlRefusalKind::Writes, Location::empty(), found)
    }

    fn unknown(&self) -> Flow {
        self.at(SqlRefusalKind::NotUnderstood, Location::empty(), "")
    }

    /// A table's name, unless it is granted.
    fn relation(&self, name: &ObjectName) -> Flow {
        let (place, shown) = (first_place(name), name.to_string());
        let Some(parts) = parts(self.grant.dialect, name) else {
            return self.unknown();
        };
        let confined = self.grant.confined && !self.grant.matched.names_table(&parts);
        // A write alone doesn't read other tables.
        let unread = self.selects > 0 && !self.grant.kinds.contains("SELECT");
        let located = self.grant.matched.located(parts);
        if confined || unread || is_secret(self.grant.dialect, &located) {
            return self.at(SqlRefusalKind::Relation, place, &shown);
        }
        Flow::Continue(())
    }

    fn function(&self, name: &ObjectName) -> Flow {
        match parts(self.grant.dialect, name) {
            Some(parts) if self.grant.allows_function(&parts) => Flow::Continue(()),
            _ => self.at(SqlRefusalKind::Function, first_place(name), &name.to_string()),
        }
    }

    /// `(…).name`: a field, or in PostgreSQL a function that is called with what stands before it.
    fn field(&self, name: &Ident) -> Flow {
        let folded = folded(self.grant.dialect, name);
        if is_field(&folded) || self.grant.allows_function(std::slice::from_ref(&folded)) {
            return Flow::Continue(());
        }
        self.at(SqlRefusalKind::Function, name.span.start, &name.value)
    }

    /// `row.name`: a column, or in PostgreSQL a function that is called with the row, which may be any value of
    /// a function in FROM. Columns have any name, so that only functions known to do harm are refused.
    fn attribute(&self, name: &Ident) -> Flow {
        let folded = folded(self.grant.dialect, name);
        if !acts_on_one(&folded) || self.grant.allows_function(std::slice::from_ref(&folded)) {
            return Flow::Continue(());
        }
        self.at(SqlRefusalKind::Function, name.span.start, &name.value)
    }

    fn insert(&mut self, insert: &Insert) -> Flow {
        self.spelled.intos += usize::from(insert.into);
        self.spelled.inserts += usize::from(!insert.replace_into);
        let plain = insert.optimizer_hints.is_empty()
            && !insert.overwrite
            && !insert.by_name
            && insert.partitioned.is_none()
            && insert.output.is_none()
            && insert.settings.is_none()
            && insert.format_clause.is_none()
            && insert.multi_table_insert_type.is_none()
            && insert.multi_table_into_clauses.is_empty()
            && insert.multi_table_when_clauses.is_empty()
            && insert.multi_table_else_clause.is_none()
            && matches!(insert.table, TableObject::TableName(_));
        if !plain {
            return self.unknown();
        }
        // Writing over rows that are there is more than adding some.
        if matches!(insert.or, Some(SqliteOnConflict::Replace)) && !self.grant.allows("REPLACE") {
            return self.writes("OR REPLACE");
        }
        let updates = match &insert.on {
            None => false,
            Some(OnInsert::DuplicateKeyUpdate(_)) => true,
            Some(OnInsert::OnConflict(conflict)) => {
                matches!(conflict.action, OnConflictAction::DoUpdate(_))
            }
            Some(_) => return self.unknown(),
        };
        if updates && !self.grant.allows("UPDATE") {
            return self.writes("UPDATE");
        }
        Flow::Continue(())
    }

    fn body(&self, body: &SetExpr) -> Flow {
        match body {
            // What stands inside these is met on its own.
            SetExpr::Select(_)
            | SetExpr::Query(_)
            | SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_) => Flow::Continue(()),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?;
                self.body(right)
            }
            SetExpr::Table(table) => {
                let parts: Vec<Ident> = [&table.schema_name, &table.table_name]
                    .into_iter()
                    .filter_map(Clone::clone)
                    .collect();
                if !self.grant.allows("SELECT") {
                    return self.writes("TABLE");
                }
                self.relation(&ObjectName::from(parts))
            }
        }
    }
}

impl Visitor for Walk<'_> {
    type Break = SqlRefusal;

    fn pre_visit_statement(&mut self, statement: &Statement) -> Flow {
        self.statements += 1;
        let kind = kind_of(statement);
        // The outermost statement, and the one that an EXPLAIN stands before, were matched already.
        let nested = self.statements > 1 && kind != "SELECT";
        if nested && !self.grant.allows(kind) {
            return self.writes(kind);
        }
        match statement {
            Statement::Query(_) => {}
            Statement::Insert(insert) => self.insert(insert)?,
            Statement::Update(update) => {
                self.spelled.updates += 1;
                let plain = update.optimizer_hints.is_empty()
                    && update.on_cluster.is_none()
                    && update.output.is_none()
                    && update.settings.is_none()
                    && is_plain_join(&update.table);
                if !plain {
                    return self.unknown();
                }
                if matches!(update.or, Some(SqliteOnConflict::Replace))
                    && !self.grant.allows("REPLACE")
                {
                    return self.writes("OR REPLACE");
                }
            }
            Statement::Delete(delete) => {
                self.spelled.deletes += 1;
                let plain = delete.optimizer_hints.is_empty()
                    && delete.on_cluster.is_none()
                    && delete.output.is_none()
                    && delete.settings.is_none();
                if !plain {
                    return self.unknown();
                }
            }
            Statement::Merge(merge) => {
                self.spelled.intos += usize::from(merge.into);
                // A MERGE inserts, updates and deletes without spelling INSERT INTO.
                if merge.output.is_some() || !merge.optimizer_hints.is_empty() {
                    return self.unknown();
                }
            }
            Statement::Explain { estimate: false, .. } => {
                // The inner statement is the one that was matched.
                self.statements -= 1;
            }
            Statement::ExplainTable { hive_format: None, .. } => {}
            _ => return self.writes(kind),
        }
        Flow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        if !query.locks.is_empty() && !self.grant.may_lock() {
            return self.writes("FOR UPDATE");
        }
        let plain = query.for_clause.is_none()
            && query.settings.is_none()
            && query.format_clause.is_none()
            && query.pipe_operators.is_empty();
        if !plain {
            return self.unknown();
        }
        self.body(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        self.selects += 1;
        if select.into.is_some() && !self.grant.matched.names_word("INTO") {
            return self.writes("INTO");
        }
        // What MySQL's hints may say was looked at where the text was cut.
        let plain = (select.optimizer_hints.is_empty() || self.grant.dialect == Dialect::MySql)
            && select.top.is_none()
            && select.exclude.is_none()
            && select.lateral_views.is_empty()
            && select.prewhere.is_none()
            && select.connect_by.is_empty()
            && select.cluster_by.is_empty()
            && select.distribute_by.is_empty()
            && select.sort_by.is_empty()
            && select.qualify.is_none()
            && select.value_table_mode.is_none()
            && matches!(select.flavor, SelectFlavor::Standard)
            && select.from.iter().all(is_plain_join);
        if !plain { self.unknown() } else { Flow::Continue(()) }
    }

    fn post_visit_select(&mut self, _: &Select) -> Flow {
        self.selects = self.selects.saturating_sub(1);
        Flow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        match factor {
            TableFactor::Table { name, args, with_hints, version, json_path, .. } => {
                if !with_hints.is_empty() || version.is_some() || json_path.is_some() {
                    return self.unknown();
                }
                if let Some(args) = args {
                    if args.settings.is_some() {
                        return self.unknown();
                    }
                    self.called = true;
                    return self.function(name);
                }
                Flow::Continue(())
            }
            TableFactor::Function { name, .. } => self.function(name),
            TableFactor::Derived { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::JsonTable { .. }
            | TableFactor::XmlTable { .. } => Flow::Continue(()),
            TableFactor::NestedJoin { table_with_joins, .. } if is_plain_join(table_with_joins) => {
                Flow::Continue(())
            }
            _ => self.unknown(),
        }
    }

    fn pre_visit_order_by_expr(&mut self, order: &OrderByExpr) -> Flow {
        match &order.options.sort {
            // An operator with a schema is a function's by another name.
            Some(OrderBySort::Using(operator)) if operator.0.len() > 1 => self.unknown(),
            _ => Flow::Continue(()),
        }
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> Flow {
        if std::mem::take(&mut self.called) {
            return Flow::Continue(());
        }
        self.relation(name)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        let postgres = matches!(self.grant.dialect, Dialect::Postgres | Dialect::Unknown);
        match expr {
            Expr::Function(function) => {
                if function.uses_odbc_syntax
                    || !matches!(function.parameters, FunctionArguments::None)
                {
                    return self.unknown();
                }
                self.function(&function.name)
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                // `t.tags[1]` is a column's part, as `t.tags` is a column. `(t).name` is `t.name`.
                let mut is_row = match root.as_ref() {
                    Expr::Identifier(_) => true,
                    Expr::Nested(row) => matches!(row.as_ref(), Expr::Identifier(_)),
                    _ => false,
                };
                for access in access_chain {
                    match access {
                        AccessExpr::Dot(Expr::Identifier(name)) if is_row => {
                            self.attribute(name)?;
                        }
                        AccessExpr::Subscript(_) | AccessExpr::Dot(Expr::Wildcard(_)) => {
                            is_row = false
                        }
                        AccessExpr::Dot(Expr::Identifier(name)) => self.field(name)?,
                        AccessExpr::Dot(_) => return self.unknown(),
                    }
                }
                Flow::Continue(())
            }
            Expr::BinaryOp { op, .. } => match op {
                BinaryOperator::PGCustomBinaryOperator(parts) => match parts.as_slice() {
                    [_] => Flow::Continue(()),
                    [schema, _] if schema == "pg_catalog" => Flow::Continue(()),
                    _ => self.at(SqlRefusalKind::Function, Location::empty(), &parts.join(".")),
                },
                // MySQL's `@a := 1` sets a variable.
                BinaryOperator::Assignment => self.writes(":="),
                _ => Flow::Continue(()),
            },
            Expr::In { target, .. } => match target {
                InTarget::List(_) | InTarget::Subquery(_) => Flow::Continue(()),
                InTarget::Table { name, args: Some(_) } if !postgres => {
                    self.called = true;
                    self.function(name)
                }
                InTarget::Table { args: None, .. } if !postgres => Flow::Continue(()),
                _ => self.unknown(),
            },
            Expr::TypedString(typed) if typed.uses_odbc_syntax => self.unknown(),
            Expr::Prefixed { .. } | Expr::MatchAgainst { .. } | Expr::MemberOf(_) if postgres => {
                self.unknown()
            }
            Expr::CompoundIdentifier(parts) if postgres => {
                parts.last().map_or(Flow::Continue(()), |name| self.attribute(name))
            }
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::IsJson { .. }
            | Expr::IsNormalized { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::RLike { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::Convert { .. }
            | Expr::Cast { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Collate { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Prefixed { .. }
            | Expr::TypedString(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::MatchAgainst { .. }
            | Expr::MemberOf(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..) => Flow::Continue(()),
            _ => self.unknown(),
        }
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> Flow {
        match &value.value {
            Value::Number(..)
            | Value::SingleQuotedString(_)
            | Value::DollarQuotedString(_)
            | Value::EscapedStringLiteral(_)
            | Value::SingleQuotedByteStringLiteral(_)
            | Value::NationalStringLiteral(_)
            | Value::HexStringLiteral(_)
            | Value::DoubleQuotedString(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::Placeholder(_) => Flow::Continue(()),
            _ => self.unknown(),
        }
    }
}
