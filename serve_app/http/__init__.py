"""The application and what every exchange of it has: routes, bodies, event streams, who calls, errors."""
