"""From chunks and markers to windows: pure NumPy and SciPy, without files, sockets, threads or a wall clock.

``design`` makes the settings of the causal steps and ``front_end`` runs them; ``ring`` keeps what comes out;
``stamp_line`` draws a line through the stamps, and ``alignment`` says by it which sample a time means;
``segment`` and ``timeline`` lay a stream out in unbroken stretches, and ``stretches`` a recording; ``track``
answers requests with windows; ``ledger`` sees to it that each gets one answer.
``markers`` reads trigger channels; ``resampling`` and ``repair`` make the fixed matrices that go into a
decoder's graph.
"""
